"""What a training passes on to the next one, and where the two don't agree.

Tokenizer, pre-training and fine-tuning are separate runs; what one of them does to its images,
its patches and its tokens, the next has to do as well. :func:`describe` is what a checkpoint says
of itself, :func:`here_of` the same of a model at hand, :func:`differences` compares the two.
"""

from beit_mm.checkpoints.description.describe import describe, here_of, tokenizer_of
from beit_mm.checkpoints.description.differences import Difference, StageMismatchError, differences
from beit_mm.checkpoints.description.images import first_pipeline, images_of, pipelines_of

__all__ = [
    'Difference',
    'StageMismatchError',
    'describe',
    'differences',
    'first_pipeline',
    'here_of',
    'images_of',
    'pipelines_of',
    'tokenizer_of',
]
