from beit_mm.datasets.transforms.band_jitter import BandJitter
from beit_mm.datasets.transforms.base_patch_mask import BasePatchMask
from beit_mm.datasets.transforms.blockwise_mask import BlockwiseMask
from beit_mm.datasets.transforms.check_segmentation import CheckSegmentation
from beit_mm.datasets.transforms.load_multi_band_image import LoadMultiBandImage
from beit_mm.datasets.transforms.load_reduced_image import LoadReducedImage
from beit_mm.datasets.transforms.load_segmentation_mask import LoadSegmentationMask
from beit_mm.datasets.transforms.pack_mim_inputs import PackMIMInputs
from beit_mm.datasets.transforms.random_flip import RandomFlip
from beit_mm.datasets.transforms.random_mask import RandomMask
from beit_mm.datasets.transforms.rgb_jitter import RGBJitter
from beit_mm.datasets.transforms.two_view_resized_crop import TwoViewResizedCrop

__all__ = [
    'BandJitter',
    'BasePatchMask',
    'BlockwiseMask',
    'CheckSegmentation',
    'RGBJitter',
    'LoadMultiBandImage',
    'LoadReducedImage',
    'LoadSegmentationMask',
    'PackMIMInputs',
    'RandomFlip',
    'RandomMask',
    'TwoViewResizedCrop',
]
