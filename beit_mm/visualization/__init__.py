from beit_mm.visualization.continued_vis_backend import ContinuedVisBackend
from beit_mm.visualization.figures.canvas import to_svg
from beit_mm.visualization.figures.class_legend import class_legend
from beit_mm.visualization.figures.confusion_matrix import confusion_figure
from beit_mm.visualization.figures.curves import curves_figure, draw_curves
from beit_mm.visualization.figures.image_grid import grid, grid_figure
from beit_mm.visualization.figures.predictions import draw_classification, draw_segmentation
from beit_mm.visualization.figures.token_pictures import (
    code_atlas,
    code_traversal,
    reconstruction_grid,
    usage_histogram,
)
from beit_mm.visualization.pages.page import png_source, render_page, svg_source
from beit_mm.visualization.patches import (
    constant_ids,
    mask_patches,
    most_used,
    paste_patches,
    patches_of_code,
    segmentation_overlay,
    stretched,
    swapped_ids,
    tile,
    to_rgb,
)
from beit_mm.visualization.scalars import curve_of, read_log, read_scalars
from beit_mm.visualization.stepped_wandb_vis_backend import SteppedWandbVisBackend
