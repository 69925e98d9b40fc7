from beit_mm.visualization.continued_vis_backend import ContinuedVisBackend
from beit_mm.visualization.curves import draw_curves, read_scalars
from beit_mm.visualization.image_grid import (
    grid,
    label,
    mask_patches,
    paste_patches,
    segmentation_overlay,
)
from beit_mm.visualization.svg_grid import svg_grid
from beit_mm.visualization.token_pictures import (
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
