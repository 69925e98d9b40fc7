from .feature_regression_head import FeatureRegressionHead
from .soft_token_head import SoftTokenHead
from .visual_token_head import VisualTokenHead

__all__ = ['FeatureRegressionHead', 'SoftTokenHead', 'VisualTokenHead']
