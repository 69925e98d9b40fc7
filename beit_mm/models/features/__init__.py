from .patch_hog import PatchHOG
from .patch_pixels import PatchPixels

__all__ = ['PatchHOG', 'PatchPixels']
