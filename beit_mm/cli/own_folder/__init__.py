"""The parts of ``beit-mm chain``: look at a folder, plan, write configs, run them."""
