"""What is wrong with the files of a data set: each image and mask, folders, labels, splits.

Nothing here is registered; tools/check_dataset.py puts it together.
"""

from .file_finding import FileFinding
from .image_file import Loader, check_image
from .mask_file import MaskRules, check_mask
from .sample import Sample, check_sample
from .split import Split, read_splits
from .split_checks import check_duplicates, check_folders, check_labels

__all__ = [
    'FileFinding',
    'Loader',
    'MaskRules',
    'Sample',
    'Split',
    'check_duplicates',
    'check_folders',
    'check_image',
    'check_labels',
    'check_mask',
    'check_sample',
    'read_splits',
]
