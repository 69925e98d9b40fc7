import logging

import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from beit_mm.checkpoints import IncompleteCheckpointError, LoadReport, weights_of
from beit_mm.checkpoints.load_report import some
from beit_mm.registry import HOOKS

ADVICE = (
    'see tools/model_converters/convert.py, or load a part of the model with '
    "init_cfg=dict(type='Pretrained', prefix=...)"
)
# The encoder adapts these as it is loaded, and says so itself.
POSITIONS = ('relative_position_bias_table', 'pos_embed')
# The backbone is judged by itself; an auxiliary head acts in training alone.
NOT_EVALUATED = ('backbone.', 'auxiliary_head.')


@HOOKS.register_module()
class LoadReportHook(Hook):
    """Writes what fits of a checkpoint, module by module, into the log of ``load_from`` and resume.

    MMEngine prints what doesn't fit to the terminal alone, and goes on even if nothing does.
    Parts of a model that are loaded with ``init_cfg`` report by themselves, and a BEiTEncoder is
    stricter than this hook, which also watches the backbones of other libraries.

    Args:
        min_backbone: Share of the tensors of ``model.backbone`` that has to be found.
        complete: Every parameter beside the backbone has to be found too, as for an evaluation,
            which an untrained head would make one of chance. An auxiliary head may be missing, and
            a part that has been loaded with an ``init_cfg`` of its own, as a tokenizer.

    Raises:
        IncompleteCheckpointError: No tensor of the model, or too few of its backbone, are in the
            checkpoint.
    """

    priority = 'VERY_LOW'  # after hooks that change the checkpoint

    def __init__(self, min_backbone: float = 0.5, complete: bool = False):
        self.min_backbone = min_backbone
        self.complete = complete

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        report = LoadReport.of(model, weights_of(checkpoint))
        total = len(report.matched) + len(report.reshaped) + len(report.missing)
        if not report.matched:
            firsts = sorted({name.split('.')[0] for name in report.unexpected})
            raise IncompleteCheckpointError(
                f'None of the {total} tensors of {type(model).__name__} is in the checkpoint, '
                f'whose names start with {firsts[:6]}; {ADVICE}'
            )
        for names in (report.missing, report.reshaped, report.unexpected):
            names[:] = [name for name in names if not any(part in name for part in POSITIONS)]
        found, total_of = (
            sum(name.startswith('backbone.') for name in names)
            for names in (report.matched, report.matched + report.missing + report.reshaped)
        )
        if found < self.min_backbone * total_of:
            raise IncompleteCheckpointError(
                f'{found} of {total_of} tensors of the backbone are in the checkpoint, it would '
                f'stay untrained; {ADVICE}. LoadReportHook.min_backbone={self.min_backbone} is '
                'the share that is asked for'
            )
        names = {name for name, _ in model.named_parameters()}
        lost = [
            entry
            for entry in report.missing + report.reshaped
            if entry.split(' ')[0] in names
            and not entry.startswith((*NOT_EVALUATED, *_loaded_apart(model, report)))
        ]
        if self.complete and lost:
            raise IncompleteCheckpointError(
                f'{len(lost)} parameters of {type(model).__name__} are not in the checkpoint, or '
                f'have another shape there, and would be untrained: {some(lost)}; evaluate it with '
                'the config that it was trained with'
            )
        changed = bool(report.missing or report.reshaped)
        runner.logger.log(
            logging.WARNING if changed else logging.INFO,
            f'{type(model).__name__}: {len(report.matched)} of {total} tensors are in the '
            f'checkpoint\n{report.by_module()}',
        )


def _loaded_apart(model: nn.Module, report: LoadReport) -> list[str]:
    """Prefixes of parts that have their weights from another file, and nothing from this one."""
    prefixes = []
    for name, part in model.named_children():
        given = getattr(part, 'init_cfg', None) or []
        steps = given if isinstance(given, list | tuple) else [given]
        pretrained = any(step.get('type') == 'Pretrained' for step in steps)
        here = report.matched + report.reshaped
        if pretrained and part.is_init and not any(n.startswith(f'{name}.') for n in here):
            prefixes.append(f'{name}.')
    return prefixes
