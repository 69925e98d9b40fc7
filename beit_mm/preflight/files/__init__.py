"""Checks of the files of a data set: images, masks, folders, labels and splits."""

from beit_mm.preflight.files.image_file import Loader, check_image
from beit_mm.preflight.files.mask_file import MaskRules, check_mask
from beit_mm.preflight.files.split import Sample, Split, check_sample, read_splits
from beit_mm.preflight.files.split_checks import check_duplicates, check_folders, check_labels
