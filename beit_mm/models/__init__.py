from .backbones import BEiTEncoder
from .heads import VisualTokenHead
from .masked_image_model import MaskedImageModel
from .necks import MaskedPatchNeck, PatchAggregationNeck, PatchMeanNeck
from .teachers import BackboneTeacher, BaseTeacher, CLIPTeacher, HFTeacher, TimmTeacher
from .tokenizers import BaseTokenizer, DALLETokenizer, DVAETokenizer, VQKDTokenizer
from .two_view_data_preprocessor import TwoViewDataPreprocessor

__all__ = [
    'BEiTEncoder',
    'BackboneTeacher',
    'BaseTeacher',
    'BaseTokenizer',
    'CLIPTeacher',
    'DALLETokenizer',
    'DVAETokenizer',
    'HFTeacher',
    'MaskedImageModel',
    'MaskedPatchNeck',
    'PatchAggregationNeck',
    'PatchMeanNeck',
    'TimmTeacher',
    'TwoViewDataPreprocessor',
    'VQKDTokenizer',
    'VisualTokenHead',
]
