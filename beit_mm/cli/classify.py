"""Write the classes of images (tools/classify.py)."""

from functools import partial

from beit_mm.cli.inference import run_inference

main = partial(run_inference, 'classify')
