from .base_patch_mask import BasePatchMask
from .blockwise_mask import BlockwiseMask
from .pack_mim_inputs import PackMIMInputs
from .random_mask import RandomMask
from .two_view_resized_crop import TwoViewResizedCrop

__all__ = ['BasePatchMask', 'BlockwiseMask', 'PackMIMInputs', 'RandomMask', 'TwoViewResizedCrop']
