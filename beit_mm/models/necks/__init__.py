from .masked_patch_neck import MaskedPatchNeck
from .patch_mean_neck import PatchMeanNeck

__all__ = ['MaskedPatchNeck', 'PatchMeanNeck']
