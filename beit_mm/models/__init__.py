from .backbones import BEiTEncoder
from .heads import FeatureRegressionHead, SoftTokenHead, VisualTokenHead
from .losses import (
    BaseReconLoss,
    L1ReconLoss,
    LogitLaplaceReconLoss,
    MSEReconLoss,
    PerceptualReconLoss,
    SmoothL1ReconLoss,
)
from .masked_image_model import MaskedImageModel
from .necks import MaskedPatchNeck, PatchAggregationNeck, PatchMeanNeck
from .teachers import BackboneTeacher, BaseTeacher, CLIPTeacher, HFTeacher, TimmTeacher
from .tokenizers import BaseTokenizer, DALLETokenizer, DVAETokenizer, VQKDTokenizer
from .two_view_data_preprocessor import TwoViewDataPreprocessor

__all__ = [
    'BEiTEncoder',
    'BackboneTeacher',
    'BaseReconLoss',
    'BaseTeacher',
    'BaseTokenizer',
    'CLIPTeacher',
    'DALLETokenizer',
    'DVAETokenizer',
    'FeatureRegressionHead',
    'HFTeacher',
    'L1ReconLoss',
    'LogitLaplaceReconLoss',
    'MSEReconLoss',
    'MaskedImageModel',
    'MaskedPatchNeck',
    'PatchAggregationNeck',
    'PatchMeanNeck',
    'PerceptualReconLoss',
    'SmoothL1ReconLoss',
    'SoftTokenHead',
    'TimmTeacher',
    'TwoViewDataPreprocessor',
    'VQKDTokenizer',
    'VisualTokenHead',
]
