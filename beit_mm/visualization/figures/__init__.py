"""Pictures that matplotlib draws, as uint8 RGB arrays (H, W, 3)."""

from beit_mm.visualization.figures.canvas import to_svg
from beit_mm.visualization.figures.curves import draw_curves
from beit_mm.visualization.figures.image_grid import grid, grid_figure
from beit_mm.visualization.figures.token_pictures import (
    code_atlas,
    code_traversal,
    reconstruction_grid,
    usage_histogram,
)

__all__ = [
    'code_atlas',
    'code_traversal',
    'draw_curves',
    'grid',
    'grid_figure',
    'reconstruction_grid',
    'to_svg',
    'usage_histogram',
]
