from .continued_vis_backend import ContinuedVisBackend
from .curves import draw_curves, read_scalars
from .image_grid import grid, label, mask_patches, paste_patches, segmentation_overlay
from .svg_grid import svg_grid
from .token_pictures import (
    code_atlas,
    code_traversal,
    reconstruction_grid,
    usage_histogram,
)

__all__ = [
    'ContinuedVisBackend',
    'code_atlas',
    'code_traversal',
    'draw_curves',
    'grid',
    'label',
    'mask_patches',
    'paste_patches',
    'read_scalars',
    'reconstruction_grid',
    'segmentation_overlay',
    'svg_grid',
    'usage_histogram',
]
