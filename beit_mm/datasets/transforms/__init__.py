from .band_jitter import BandJitter
from .base_patch_mask import BasePatchMask
from .blockwise_mask import BlockwiseMask
from .check_segmentation import CheckSegmentation
from .load_multi_band_image import LoadMultiBandImage
from .load_segmentation_mask import LoadSegmentationMask
from .pack_mim_inputs import PackMIMInputs
from .random_mask import RandomMask
from .two_view_resized_crop import TwoViewResizedCrop

__all__ = [
    'BandJitter',
    'BasePatchMask',
    'BlockwiseMask',
    'CheckSegmentation',
    'LoadMultiBandImage',
    'LoadSegmentationMask',
    'PackMIMInputs',
    'RandomMask',
    'TwoViewResizedCrop',
]
