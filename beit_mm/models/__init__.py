from .backbones import BEiTEncoder
from .heads import VisualTokenHead
from .masked_image_model import MaskedImageModel
from .necks import MaskedPatchNeck, PatchMeanNeck
from .tokenizers import BaseTokenizer, DALLETokenizer, DVAETokenizer
from .two_view_data_preprocessor import TwoViewDataPreprocessor

__all__ = [
    'BEiTEncoder',
    'BaseTokenizer',
    'DALLETokenizer',
    'DVAETokenizer',
    'MaskedImageModel',
    'MaskedPatchNeck',
    'PatchMeanNeck',
    'TwoViewDataPreprocessor',
    'VisualTokenHead',
]
