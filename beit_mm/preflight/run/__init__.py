"""Checks of a runner whose data, model and hooks are built, before its first step."""

from beit_mm.preflight.run.batches import check_batches, check_last_batch, check_length
from beit_mm.preflight.run.class_order import check_class_order
from beit_mm.preflight.run.filled import describe_filled, filled, find_limits
from beit_mm.preflight.run.labels import check_labels
from beit_mm.preflight.run.masks import check_masks
from beit_mm.preflight.run.metrics import check_metrics
from beit_mm.preflight.run.precision import check_precision
from beit_mm.preflight.run.weights import check_weights
