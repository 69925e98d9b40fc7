from .masked_patch_neck import MaskedPatchNeck
from .patch_aggregation_neck import PatchAggregationNeck
from .patch_mean_neck import PatchMeanNeck

__all__ = ['MaskedPatchNeck', 'PatchAggregationNeck', 'PatchMeanNeck']
