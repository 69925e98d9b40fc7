"""Draw images from their tokens, or from their unmasked patches (tools/reconstruct.py)."""

from functools import partial

from beit_mm.cli.inference import run_inference

main = partial(run_inference, 'reconstruct')
