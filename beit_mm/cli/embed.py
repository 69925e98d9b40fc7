"""Write the features of images (tools/embed.py)."""

from functools import partial

from beit_mm.cli.inference import run_inference

main = partial(run_inference, 'embed')
