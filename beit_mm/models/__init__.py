from .backbones import BEiTEncoder
from .features import PatchHOG, PatchPixels
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
from .tokenizers import (
    AutoencoderTokenizer,
    BaseTokenizer,
    DALLEPytorchTokenizer,
    DALLETokenizer,
    DVAETokenizer,
    FeatureTarget,
    FSQTokenizer,
    KMeansTokenizer,
    LFQTokenizer,
    PatchDVAETokenizer,
    RandomProjectionTokenizer,
    ResidualVQTokenizer,
    VQKDTokenizer,
    VQVAETokenizer,
)
from .two_view_data_preprocessor import TwoViewDataPreprocessor

__all__ = [
    'AutoencoderTokenizer',
    'BEiTEncoder',
    'BackboneTeacher',
    'BaseReconLoss',
    'BaseTeacher',
    'BaseTokenizer',
    'CLIPTeacher',
    'DALLEPytorchTokenizer',
    'DALLETokenizer',
    'DVAETokenizer',
    'FSQTokenizer',
    'FeatureRegressionHead',
    'FeatureTarget',
    'HFTeacher',
    'KMeansTokenizer',
    'L1ReconLoss',
    'LFQTokenizer',
    'LogitLaplaceReconLoss',
    'MSEReconLoss',
    'MaskedImageModel',
    'MaskedPatchNeck',
    'PatchAggregationNeck',
    'PatchDVAETokenizer',
    'PatchHOG',
    'PatchMeanNeck',
    'PatchPixels',
    'PerceptualReconLoss',
    'RandomProjectionTokenizer',
    'ResidualVQTokenizer',
    'SmoothL1ReconLoss',
    'SoftTokenHead',
    'TimmTeacher',
    'TwoViewDataPreprocessor',
    'VQKDTokenizer',
    'VQVAETokenizer',
    'VisualTokenHead',
]
