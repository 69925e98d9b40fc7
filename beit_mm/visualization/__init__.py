from .continued_vis_backend import ContinuedVisBackend
from .curves import draw_curves, read_scalars
from .image_grid import grid, label, mask_patches, paste_patches, segmentation_overlay
from .svg_grid import svg_grid

__all__ = [
    'ContinuedVisBackend',
    'draw_curves',
    'grid',
    'label',
    'mask_patches',
    'paste_patches',
    'read_scalars',
    'segmentation_overlay',
    'svg_grid',
]
