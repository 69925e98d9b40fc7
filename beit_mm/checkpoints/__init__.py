"""Checkpoints in and out: safe reading, everybody's layouts, reports of what was loaded.

It imports torch and mmengine, and nothing of the kinds of plugins.
"""

from .conversion import Conversion
from .description import description_of, for_file, read_description
from .download import fetch
from .layouts import LAYOUTS, OURS, detect, task_of, unwrap, weights_of
from .load_report import IncompleteCheckpointError, LoadReport, check_load
from .loaders import in_our_layout, keep_layout, register_loaders
from .reading import UnsafeCheckpointError, peek, read_checkpoint, write_weights
from .trust import trust_checkpoints

__all__ = [
    'LAYOUTS',
    'OURS',
    'Conversion',
    'IncompleteCheckpointError',
    'LoadReport',
    'UnsafeCheckpointError',
    'check_load',
    'description_of',
    'detect',
    'fetch',
    'for_file',
    'in_our_layout',
    'keep_layout',
    'peek',
    'read_checkpoint',
    'read_description',
    'register_loaders',
    'task_of',
    'trust_checkpoints',
    'unwrap',
    'weights_of',
    'write_weights',
]
