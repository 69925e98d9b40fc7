"""Hooks that watch a training and tell of one that goes wrong."""

from beit_mm.engine.guards.chance_loss_guard_hook import ChanceLossGuardHook
from beit_mm.engine.guards.codebook_guard_hook import CodebookGuardHook, CollapsedCodebookError
from beit_mm.engine.guards.constant_prediction_guard_hook import ConstantPredictionGuardHook
from beit_mm.engine.guards.frozen_weights_guard_hook import FrozenWeightsGuardHook
from beit_mm.engine.guards.guard_hook import UnhealthyTrainingError
from beit_mm.engine.guards.non_finite_guard_hook import NonFiniteError, NonFiniteGuardHook
from beit_mm.engine.guards.zero_gradient_guard_hook import ZeroGradientGuardHook

__all__ = [
    'ChanceLossGuardHook',
    'CodebookGuardHook',
    'CollapsedCodebookError',
    'ConstantPredictionGuardHook',
    'FrozenWeightsGuardHook',
    'NonFiniteError',
    'NonFiniteGuardHook',
    'UnhealthyTrainingError',
    'ZeroGradientGuardHook',
]
