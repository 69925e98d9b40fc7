"""Write the class of each pixel of images (tools/segment.py)."""

from functools import partial

from beit_mm.cli.inference import run_inference

main = partial(run_inference, 'segment')
