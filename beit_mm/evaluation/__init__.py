from .masked_feature_regression import MaskedFeatureRegression
from .masked_token_accuracy import MaskedTokenAccuracy
from .tokenizer_quality import TokenizerQuality

__all__ = ['MaskedFeatureRegression', 'MaskedTokenAccuracy', 'TokenizerQuality']
