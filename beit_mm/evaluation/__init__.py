from beit_mm.evaluation.masked_feature_regression import MaskedFeatureRegression
from beit_mm.evaluation.masked_token_accuracy import MaskedTokenAccuracy
from beit_mm.evaluation.tokenizer_quality import TokenizerQuality

__all__ = ['MaskedFeatureRegression', 'MaskedTokenAccuracy', 'TokenizerQuality']
