from beit_mm.visualization.continued_vis_backend import ContinuedVisBackend
from beit_mm.visualization.figures.canvas import to_svg
from beit_mm.visualization.figures.curves import draw_curves
from beit_mm.visualization.figures.image_grid import grid, grid_figure
from beit_mm.visualization.figures.token_pictures import (
    code_atlas,
    code_traversal,
    reconstruction_grid,
    usage_histogram,
)
from beit_mm.visualization.pages.page import render_page
from beit_mm.visualization.patches import (
    constant_ids,
    mask_patches,
    most_used,
    paste_patches,
    patches_of_code,
    segmentation_overlay,
    swapped_ids,
    to_rgb,
)
from beit_mm.visualization.scalars import read_scalars

__all__ = [
    'ContinuedVisBackend',
    'code_atlas',
    'code_traversal',
    'constant_ids',
    'draw_curves',
    'grid',
    'grid_figure',
    'mask_patches',
    'most_used',
    'paste_patches',
    'patches_of_code',
    'read_scalars',
    'reconstruction_grid',
    'render_page',
    'segmentation_overlay',
    'swapped_ids',
    'to_rgb',
    'to_svg',
    'usage_histogram',
]
