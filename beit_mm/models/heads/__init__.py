from beit_mm.models.heads.feature_regression_head import FeatureRegressionHead
from beit_mm.models.heads.soft_token_head import SoftTokenHead
from beit_mm.models.heads.visual_token_head import VisualTokenHead

__all__ = ['FeatureRegressionHead', 'SoftTokenHead', 'VisualTokenHead']
