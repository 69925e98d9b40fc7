"""Write the visual tokens of images (tools/tokenize_images.py)."""

from functools import partial

from beit_mm.cli.inference import run_inference

main = partial(run_inference, 'tokenize')
