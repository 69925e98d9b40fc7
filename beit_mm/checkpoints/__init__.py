"""Checkpoints in and out: safe reading, everybody's layouts, reports of what was loaded.

It imports torch and mmengine, and nothing of the kinds of plugins.
"""

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.description.preprocessing import for_part
from beit_mm.checkpoints.description.stored import description_of, for_file, read_description
from beit_mm.checkpoints.download import fetch
from beit_mm.checkpoints.layouts import LAYOUTS, OURS, detect, task_of, unwrap, weights_of
from beit_mm.checkpoints.loaders import in_our_layout, keep_layout
from beit_mm.checkpoints.reading import UnsafeCheckpointError, peek, read_checkpoint, write_weights
from beit_mm.checkpoints.trust import trust_checkpoints
from beit_mm.contracts.load_report import IncompleteCheckpointError, LoadReport, check_load
