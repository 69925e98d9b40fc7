"""What models do with images, a file for each verb."""

from beit_mm.apis.verbs.attention import ATTENTION
from beit_mm.apis.verbs.classify import CLASSIFY
from beit_mm.apis.verbs.embed import EMBED
from beit_mm.apis.verbs.reconstruct import RECONSTRUCT
from beit_mm.apis.verbs.segment import SEGMENT
from beit_mm.apis.verbs.tokenize import TOKENIZE
from beit_mm.apis.verbs.verb import Rows, Verb

VERBS = dict(
    embed=EMBED,
    tokenize=TOKENIZE,
    reconstruct=RECONSTRUCT,
    classify=CLASSIFY,
    segment=SEGMENT,
    attention=ATTENTION,
)
# What fits a task best.
PREDICTS = dict(
    tokenizer='tokenize',
    pretraining='embed',
    classification='classify',
    segmentation='segment',
    backbone='embed',
)

__all__ = ['PREDICTS', 'VERBS', 'Rows', 'Verb']
