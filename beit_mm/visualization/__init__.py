from .curves import draw_curves, read_scalars
from .image_grid import grid, label, mask_patches, paste_patches, segmentation_overlay

__all__ = [
    'draw_curves',
    'grid',
    'label',
    'mask_patches',
    'paste_patches',
    'read_scalars',
    'segmentation_overlay',
]
