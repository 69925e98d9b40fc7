import logging
from collections.abc import Iterable
from dataclasses import replace

import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import BaseAveragedModel, BaseModule
from mmengine.runner import BaseLoop, Runner

from beit_mm.checkpoints import (
    IncompleteCheckpointError,
    LoadReport,
    description_of,
    read_description,
    weights_of,
)
from beit_mm.checkpoints.adapt_beit import resize_positions
from beit_mm.checkpoints.description import StageMismatchError, differences, here_of, tokenizer_of
from beit_mm.checkpoints.store import with_todays_names
from beit_mm.contracts import Backbone, Finding, check_choice, some
from beit_mm.contracts.digest import weights_sha256
from beit_mm.contracts.feature_extractor import has_drawn_weights
from beit_mm.contracts.positions import TABLE
from beit_mm.contracts.runner_access import model_of, unwrap, wrappers
from beit_mm.contracts.starting_weights import pretrained_steps
from beit_mm.preflight.config.parts import preprocessor_key
from beit_mm.registry import HOOKS

ADVICE = (
    'see tools/model_converters/convert.py, or load a part of the model with '
    "init_cfg=dict(type='Pretrained', prefix=...)"
)
# A BEiTEncoder adapts these as it is loaded, and reports it itself.
POSITIONS = (TABLE, 'pos_embed')
BETWEEN_STAGES = ('report', 'warn', 'error', 'ignore')
# The backbone is judged by itself; an auxiliary head acts in training alone.
NOT_EVALUATED = ('backbone.', 'auxiliary_head.')


@HOOKS.register_module()
class LoadReportHook(Hook):
    """Log what fits of a checkpoint, module by module, for ``load_from`` and resume.

    MMEngine prints what does not fit to the terminal alone, and goes on even if nothing does. Parts
    of a model that are loaded with ``init_cfg`` report by themselves. A BEiTEncoder is stricter
    than this hook, which also watches the backbones of other libraries.

    It also compares what a checkpoint says of itself (``meta['beit_mm']``) with the model that
    loads it, whole or as its backbone or tokenizer: normalization and order of the channels, patch
    size, channels, and the tokenizer. Checkpoints that say nothing are not compared. Positions of
    a ``load_from`` checkpoint are resized from the image size that it says.

    Args:
        min_backbone: Share of the tensors of ``model.backbone`` that has to be found.
        complete: Every parameter beside the backbone has to be found too, as an evaluation needs.
            An auxiliary head may be missing, and a part such as a tokenizer that has been loaded
            with its own ``init_cfg``.
        between_stages: ``report``: a difference that would fail, or another tokenizer, is an error,
            the rest is a warning in the log. ``warn``: all are warnings. ``error``: all are errors.
            ``ignore``: nothing is compared.

    Raises:
        StageMismatchError: As ``between_stages`` says.
        IncompleteCheckpointError: No tensor of the model is in the checkpoint, or too few of its
            backbone.
    """

    priority = 'VERY_LOW'  # after hooks that change the checkpoint

    def __init__(
        self, min_backbone: float = 0.5, complete: bool = False, between_stages: str = 'report'
    ):
        check_choice('LoadReportHook', BETWEEN_STAGES, between_stages=between_stages)
        self.min_backbone = min_backbone
        self.complete = complete
        self.between_stages = between_stages

    def before_run(self, runner: Runner) -> None:
        """Compare the parts that have an ``init_cfg`` of their own, before they are loaded."""
        if self.between_stages == 'ignore':
            return
        model = model_of(runner)
        here, found = here_of(model, runner.cfg), []
        trains = isinstance(runner._train_loop, BaseLoop)
        parts = dict(model.named_children(), model=model)
        for part in ('model', 'backbone', 'tokenizer'):
            module = parts.get(part)
            if not trains and not (isinstance(module, BaseModule) and module.is_init):
                continue  # an evaluation loads what load_from names
            for step in _pretrained(module):
                source = step['checkpoint']
                description = read_description(source, download=True)
                if description is not None:
                    key = preprocessor_key(runner.cfg)
                    found += differences(description, here, source, part=part, preprocessor=key)
        self._report(runner, found)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = model_of(runner)
        self._compare(runner, model, checkpoint)
        if not runner._resume:
            _resize_positions(model, checkpoint)
        self._report_load(runner, model, checkpoint)
        _name_as_averages(runner.model, checkpoint)

    def _compare(self, runner: Runner, model: nn.Module, checkpoint: dict) -> None:
        description = description_of(checkpoint)
        if self.between_stages == 'ignore' or description is None:
            return
        tokenizer, prefix = tokenizer_of(model)

        def digest() -> str | None:
            chosen = prefix and _is_chosen(tokenizer)
            return weights_sha256(tokenizer.state_dict()) if chosen else None

        found = differences(
            description,
            here_of(model, runner.cfg),
            str(runner._load_from),
            resumes=runner._resume,
            preprocessor=preprocessor_key(runner.cfg),
            weights_sha256=digest,
        )
        self._report(runner, found)

    def _report(self, runner: Runner, found: Iterable[Finding]) -> None:
        levels = dict(warn='warning', error='error')
        found = [replace(f, level=levels.get(self.between_stages, f.level)) for f in found]
        for finding in found:
            if finding.level == 'warning':
                runner.logger.warning(f'{finding.place}: {finding.message}')
        if errors := [f'{f.place}: {f.message}' for f in found if f.level == 'error']:
            advice = (
                "default_hooks.load_report.between_stages='warn' goes on all the same"
                if self.between_stages == 'report'
                else f'default_hooks.load_report.between_stages={self.between_stages!r}'
            )
            raise StageMismatchError('\n'.join([*errors, f'({advice})']))

    def _report_load(self, runner: Runner, model: nn.Module, checkpoint: dict) -> None:
        report = LoadReport.of(model, with_todays_names(weights_of(checkpoint), model))
        total = report.total  # before some are left out below
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
        fits = f'{type(model).__name__}: {len(report.matched)} of {total} tensors'
        runner.logger.log(
            logging.WARNING if changed else logging.INFO,
            f'{fits} are in the checkpoint\n{report.by_module()}',
            extra=dict(loaded=fits),
        )


def _name_as_averages(model: nn.Module, checkpoint: dict) -> None:
    """Rename tensors for a model that is an average, inside of which MMEngine does not load.

    It removes one ``module.`` from all names, and an average has one before them.
    """
    averages = sum(isinstance(part, BaseAveragedModel) for part in wrappers(model))
    if averages:
        state = with_todays_names(weights_of(checkpoint), unwrap(model))
        prefix = 'module.' * (averages + 1)
        checkpoint['state_dict'] = {f'{prefix}{name}': tensor for name, tensor in state.items()}


def _pretrained(module: nn.Module | None) -> list[dict]:
    return pretrained_steps(module.init_cfg) if isinstance(module, BaseModule) else []


def _resize_positions(model: nn.Module, checkpoint: dict) -> None:
    """Resize positions from the image size of the checkpoint, which no table tells."""
    backbone = dict(model.named_children()).get('backbone')
    found = (description_of(checkpoint) or {}).get('backbone', {})
    size, state = found.get('img_size'), checkpoint.get('state_dict')
    if not isinstance(backbone, Backbone) or not isinstance(state, dict):
        return
    if found.get('patch_size') != backbone.patch_size or not isinstance(size, list):
        return
    if len(size) == 2 and all(type(side) is int and side > 0 for side in size):
        resize_positions(backbone, state, 'backbone.', size)


def _is_chosen(tokenizer: nn.Module) -> bool:
    """Return whether a tokenizer's weights are those of the config, and not random ones."""
    if _pretrained(tokenizer):
        return tokenizer.is_init
    return not has_drawn_weights(tokenizer)  # made of its options, or of trained features


def _loaded_apart(model: nn.Module, report: LoadReport) -> list[str]:
    """Return the prefixes of parts whose weights come from another file alone."""
    prefixes = []
    for name, part in model.named_children():
        here = report.matched + report.reshaped
        if _pretrained(part) and part.is_init and not any(n.startswith(f'{name}.') for n in here):
            prefixes.append(f'{name}.')
    return prefixes
