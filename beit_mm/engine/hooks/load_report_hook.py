import logging

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from beit_mm.checkpoints import IncompleteCheckpointError, LoadReport, weights_of
from beit_mm.registry import HOOKS

# The encoder adapts these as it is loaded, and says so itself.
POSITIONS = ('relative_position_bias_table', 'pos_embed')


@HOOKS.register_module()
class LoadReportHook(Hook):
    """Writes what fits of a checkpoint, module by module, into the log of ``load_from`` and resume.

    MMEngine prints what doesn't fit to the terminal alone, and goes on even if nothing does.
    Parts of a model that are loaded with ``init_cfg`` report by themselves.

    Raises:
        IncompleteCheckpointError: No tensor of the model is in the checkpoint.
    """

    priority = 'VERY_LOW'  # after hooks that change the checkpoint

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        report = LoadReport.of(model, weights_of(checkpoint))
        total = len(report.matched) + len(report.reshaped) + len(report.missing)
        if not report.matched:
            firsts = sorted({name.split('.')[0] for name in report.unexpected})
            raise IncompleteCheckpointError(
                f'None of the {total} tensors of {type(model).__name__} is in the checkpoint, '
                f'whose names start with {firsts[:6]}; see tools/model_converters/convert.py, or '
                "load a part of the model with init_cfg=dict(type='Pretrained', prefix=...)"
            )
        for names in (report.missing, report.reshaped, report.unexpected):
            names[:] = [name for name in names if not any(part in name for part in POSITIONS)]
        changed = bool(report.missing or report.reshaped)
        runner.logger.log(
            logging.WARNING if changed else logging.INFO,
            f'{type(model).__name__}: {len(report.matched)} of {total} tensors are in the '
            f'checkpoint\n{report.by_module()}',
        )
