"""Write what a model was trained to predict of images (tools/predict.py)."""

from functools import partial

from beit_mm.cli.inference import run_inference

main = partial(run_inference, 'predict')
