"""What became of each tensor when a state dict was loaded, and whether that is enough."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn as nn
from mmengine.logging import MMLogger, print_log
from torch import Tensor

from beit_mm.contracts.errors import UserError, printable, some

UNCOUNTED = 'num_batches_tracked'


class IncompleteCheckpointError(UserError):
    """Too little of a module was found in the checkpoint."""


@dataclass
class LoadReport:
    """Names of a module's tensors and of the checkpoint's, sorted by what fits."""

    matched: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)  # of another shape in the checkpoint
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, module: nn.Module, state: Mapping[str, Tensor], prefix: str = '') -> 'LoadReport':
        """Compare ``module`` with the tensors of ``state`` under ``prefix``."""
        own = {n: t for n, t in module.state_dict().items() if not n.endswith(UNCOUNTED)}
        given = {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}
        report = cls()
        for name, tensor in own.items():
            if name not in given:
                report.missing.append(name)
            elif given[name].shape != tensor.shape:
                shapes = f'{tuple(given[name].shape)} for {tuple(tensor.shape)}'
                report.reshaped.append(f'{name} {shapes}')
            else:
                report.matched.append(name)
        report.unexpected = [n for n in given if n not in own and not n.endswith(UNCOUNTED)]
        return report

    @property
    def total(self) -> int:
        """Return the number of tensors of the module."""
        return len(self.matched) + len(self.reshaped) + len(self.missing)

    def by_module(self, depth: int = 1) -> str:
        """Return a line for each module of the first levels, with what doesn't fit in it."""
        rows: dict[str, dict[str, list[str]]] = {}
        for kind, names in vars(self).items():
            for name in names:
                parts = name.split('.')
                module = '.'.join(parts[: min(depth, len(parts) - 1)]) or '(itself)'
                rows.setdefault(module, {}).setdefault(kind, []).append(name)
        lines = []
        for module, kinds in rows.items():
            own = sum(len(kinds.get(k, ())) for k in ('matched', 'reshaped', 'missing'))
            line = f'  {module}: {len(kinds.get("matched", ()))} of {own} tensors matched'
            for kind in ('reshaped', 'missing', 'unexpected'):
                if kind in kinds:
                    line += f'; {kind}: {some(kinds[kind])}'
            lines.append(line)
        return printable('\n'.join(lines))


def check_load(
    module: nn.Module,
    state: Mapping[str, Tensor],
    prefix: str = '',
    optional: tuple[str, ...] = (),
    needed: tuple[str, ...] = (),
    parts: bool = False,
    may_be_absent: bool = False,
    depth: int = 1,
) -> LoadReport:
    """Log what ``module`` will find in ``state``, and refuse too little of it.

    A module of ours calls it as it is loaded, whoever loads it, after it has adapted ``state``.

    Args:
        optional: Tensors whose names contain one of these may be missing from the checkpoint, but
            not be of another shape there.
        needed: Tensors whose names contain one of these may not be left over in it.
        parts: A child may be missing as a whole, where another one is there.
        may_be_absent: Nothing under ``prefix`` leaves the module as it is.
        depth: Levels of modules that the report tells apart.

    Raises:
        IncompleteCheckpointError: Nothing, or only some of what belongs together, is in ``state``.
    """
    report = LoadReport.of(module, state, prefix)
    title = type(module).__name__ + (f' ({prefix[:-1]})' if prefix else '')
    if report.total == 0:
        return report
    if may_be_absent and report.total == len(report.missing) and not report.unexpected:
        print_log(f'{title}: not in the checkpoint, left as it is', logger='current')
        return report
    if problem := _problem(report, prefix, optional, needed, parts):
        raise IncompleteCheckpointError(f'{title}: {problem}')
    changed = report.missing or report.reshaped
    details = f'\n{report.by_module(depth)}' if changed or report.unexpected else ''
    fits = f'{title}: {len(report.matched)} of {report.total} tensors matched'
    MMLogger.get_current_instance().log(
        logging.WARNING if changed else logging.INFO, f'{fits}{details}', extra=dict(loaded=fits)
    )
    return report


def _problem(
    report: LoadReport, prefix: str, optional: tuple[str, ...], needed: tuple[str, ...], parts: bool
) -> str:
    """Say why the checkpoint is not enough; the arguments are those of :func:`check_load`."""
    if not report.matched and not report.reshaped:
        return (
            f'none of its {report.total} tensors is in the checkpoint, it would stay untrained. '
            + _advice(report, prefix)
        )
    found = {name.split('.')[0] for name in [*report.matched, *report.reshaped]}
    lost = [name for name in report.missing if not any(part in name for part in optional)]
    lost = [n for n in lost + report.reshaped if not parts or n.split('.')[0] in found]
    if lost:
        return (
            f'{len(lost)} of its {report.total} tensors are not in the checkpoint, or have '
            f'another shape there: {some(lost)}. Set arch, sizes and options of the module to '
            'those that the checkpoint was trained with'
        )
    left = [name for name in report.unexpected if any(part in name for part in needed)]
    if left:
        return (
            f'the checkpoint has {len(left)} tensors that change what it computes, but '
            f'the module has no place for them: {some(left)}. Set the options of the module, such '
            'as rel_pos, abs_pos and layer_scale_init, to those of the checkpoint'
        )
    return ''


def _advice(report: LoadReport, prefix: str) -> str:
    """Say where the tensors may be, of a checkpoint that has none under ``prefix``."""
    if not report.unexpected:
        place = f'under {prefix}' if prefix else 'at all'
        return (
            f'It holds no tensor {place}; print the names with tools/model_converters/convert.py '
            'CHECKPOINT, and give their prefix in init_cfg=dict(prefix=...), or convert them'
        )
    firsts = sorted({name.split('.')[0] for name in report.unexpected})
    given = set(report.unexpected)
    for first in firsts:
        if any(f'{first}.{name}' in given for name in report.missing):
            return f"Its names start with {some(firsts, 6)}: set prefix='{first}.' in init_cfg"
    return (
        f'Its names start with {some(firsts, 6)}: give the prefix of the module in '
        'init_cfg=dict(prefix=...), or convert the file with tools/model_converters/convert.py'
    )
