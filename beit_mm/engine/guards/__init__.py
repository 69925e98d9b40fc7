"""Hooks that watch a training and report one that goes wrong."""

from beit_mm.engine.guards.codebook_guard_hook import CodebookGuardHook, CollapsedCodebookError
from beit_mm.engine.guards.guard_hook import UnhealthyTrainingError
from beit_mm.engine.guards.non_finite_guard_hook import NonFiniteError, NonFiniteGuardHook
from beit_mm.engine.guards.prediction_guard_hook import PredictionGuardHook
from beit_mm.engine.guards.update_guard_hook import UpdateGuardHook
