from beit_mm.evaluation.kept_predictions import KeptPredictions
from beit_mm.evaluation.masked_feature_regression import MaskedFeatureRegression
from beit_mm.evaluation.masked_token_accuracy import MaskedTokenAccuracy
from beit_mm.evaluation.per_class_results import PerClassResults
from beit_mm.evaluation.tokenizer_quality import TokenizerQuality

__all__ = [
    'KeptPredictions',
    'MaskedFeatureRegression',
    'MaskedTokenAccuracy',
    'PerClassResults',
    'TokenizerQuality',
]
