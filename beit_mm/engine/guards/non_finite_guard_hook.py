import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial, update_wrapper
from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper

from beit_mm.checkpoints.reading import must_be_finite
from beit_mm.checkpoints.store import append
from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import file_of, optim_wrappers
from beit_mm.engine.guards.guard_hook import over_processes
from beit_mm.engine.loops.resumable_loop import ResumableLoop
from beit_mm.registry import HOOKS

MIN_SCALE = 2.0**-14  # below it the loss scale is not what makes gradients overflow


class NonFiniteError(UserError, FloatingPointError):
    """Too many batches have NaN or infinity in their loss or gradients."""


@HOOKS.register_module()
class NonFiniteGuardHook(Hook):
    """Leave out updates whose loss or gradient is NaN or infinite, and stop when they pile up.

    It looks between ``backward`` and ``step`` of any OptimWrapper, so that no weight, EMA or
    checkpoint sees such a value. All processes decide together. With gradient accumulation the
    whole update is left out. The batch is named in the log and in ``non_finite_batches.jsonl`` of
    the work dir, and its loss is kept out of the curves. Gradients that overflow under a loss
    scaler are left to it, unless the scale has fallen so far that it cannot be the cause; their
    norm is kept out of the curves too.

    Args:
        max_in_a_row: The training stops when this many updates in a row are left out,
        max_in_window: or this many among the last ``window`` iterations.
        window: Iterations.

    Raises:
        NonFiniteError: Too many updates are left out, or a weight or buffer is not finite.
    """

    priority = 'HIGHEST'  # its after_train_iter comes before the loss is logged

    def __init__(self, max_in_a_row: int = 5, max_in_window: int = 50, window: int = 1000):
        self.max_in_a_row, self.max_in_window, self.window = max_in_a_row, max_in_window, window
        self.file_name = 'non_finite_batches.jsonl'

    def before_train(self, runner) -> None:
        self._losses: list[torch.Tensor] = []
        self._iters: list[int] = []  # steps whose gradients are not used up
        self._starts: list[tuple[int, int] | None] = []  # where their batches began
        for wrapper in optim_wrappers(runner):
            if 'guarded' not in vars(wrapper):
                wrapper.backward = partial(self._backward, wrapper.backward)
                guarded = partial(self._step, runner, wrapper, wrapper.step)
                # MMEngine's schedules mark the step, and warn where the mark is missing.
                wrapper.step = update_wrapper(guarded, wrapper.step)
                wrapper.guarded = True

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._iters.append(runner.iter)
        loop = runner.train_loop
        self._starts.append(loop.batch_start if isinstance(loop, ResumableLoop) else None)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if isinstance(outputs, dict):
            for name, value in list(outputs.items()):
                if not _is_finite(value):
                    del outputs[name]

    def _backward(self, backward, loss: torch.Tensor, **kwargs) -> None:
        self._losses.append(loss.detach().float().sum())
        backward(loss, **kwargs)

    def _step(self, runner, wrapper: OptimWrapper, step, **kwargs) -> None:
        losses, self._losses = self._losses, []
        bad, mine = _look(losses, _gradient_norm(wrapper, 2))
        if bad[1]:  # which overflows before its terms do, and costs a tenth of the largest term
            bad, mine = _look(losses, _gradient_norm(wrapper, math.inf))
        bad_loss, bad_gradient = bad
        scaler = getattr(wrapper, 'loss_scaler', None)
        scaled = scaler is not None and scaler.is_enabled()
        if bad_gradient and not bad_loss and scaled:
            scale = scaler.get_scale()
            if scale < MIN_SCALE:
                raise NonFiniteError(
                    f'Iteration {runner.iter + 1}: gradients overflow at a loss scale of '
                    f'{scale:g}, too small to be the cause; lower the learning rate, set '
                    "optim_wrapper.clip_grad, or take dtype='bfloat16'. The last checkpoint is "
                    'from before'
                )
            with _without_norm(wrapper):
                step(**kwargs)
        elif bad_loss or bad_gradient:
            self._leave_out(runner, wrapper, losses, mine, bad_loss)
        else:
            step(**kwargs)
        self._iters, self._starts = [], []

    def _leave_out(self, runner, wrapper, losses, mine: list[bool], bad_loss: bool) -> None:
        cause = 'loss' if bad_loss else 'gradient'
        step = runner.iter + 1
        if mine[0] or not bad_loss:  # this process's own data
            self._record(runner, losses, cause)
        _check_state(runner, step)
        hub = runner.message_hub
        earlier = [i for i in hub.get_info('non_finite_iters', []) if step - self.window < i < step]
        hub.update_info('non_finite_iters', [*earlier, step])
        length = max(len(self._iters), 1)  # steps of one update
        row, expected = 1, step - length
        for number in reversed(earlier):
            if number != expected:
                break
            row, expected = row + 1, expected - length
        total = len(earlier) + 1
        runner.logger.warning(
            f'Iteration {step}: {cause} is not finite, its update is left out '
            f'({row} in a row, {total} in the last {self.window} iterations)'
        )
        if row >= self.max_in_a_row or total >= self.max_in_window:
            raise NonFiniteError(
                f'Iteration {step}: {row} updates in a row and {total} in the last {self.window} '
                f'iterations had a {cause} that is not finite; their batches are in '
                f'{Path(runner.work_dir) / self.file_name}. The weights and the last checkpoint '
                'are finite. Look at these images, lower optim_wrapper.optimizer.lr, set '
                "optim_wrapper.clip_grad, or take dtype='bfloat16'"
            )

    def _record(self, runner, losses: list[torch.Tensor], cause: str) -> None:
        values = [float(loss) for loss in losses]
        path = Path(runner.work_dir) / self.file_name
        for place, iteration in enumerate(self._iters):
            value = values[place] if place < len(values) else math.nan
            if cause == 'loss' and math.isfinite(value):
                continue
            start = self._starts[place]  # None in loops of MMEngine
            indices = [] if start is None else runner.train_loop.batch_indices(start)
            files = [file_of(runner, index) for index in indices]
            entry = dict(iter=iteration + 1, rank=get_rank(), cause=cause, loss=str(value))
            entry.update(indices=indices, files=files)
            try:
                append(path, (json.dumps(entry) + '\n').encode())
            except OSError as error:  # a full disk is no reason to stop; the log has it
                runner.logger.error(f'{path}: {error}')
            named = ', '.join(name for name in files[:8] if name) or f'samples {indices[:8]}'
            runner.logger.warning(
                f'Iteration {iteration + 1}, rank {get_rank()}: {cause} is not finite '
                f'(loss {value}) in the batch of {named}'
                + (f' and {len(files) - 8} more' if len(files) > 8 else '')
                + f'; all in {path}'
            )


@contextmanager
def _without_norm(wrapper: OptimWrapper) -> Iterator[None]:
    """Have the wrapper neither clip gradients nor log their norm, where its scaler drops them."""
    given, wrapper.clip_grad_kwargs = wrapper.clip_grad_kwargs, {}
    try:
        yield
    finally:
        wrapper.clip_grad_kwargs = given


def _look(losses: list[torch.Tensor], gradient: torch.Tensor) -> tuple[list[bool], list[bool]]:
    """Return whether a loss, and the gradient, is not finite: in any process, and in this one."""
    device = gradient.device
    values = torch.stack([*(loss.to(device) for loss in losses), gradient])
    bad = values.isfinite().logical_not()
    mine = torch.stack([bad[:-1].any(), bad[-1]]).float()
    return over_processes(mine, 'max').bool().tolist(), mine.bool().tolist()


def _gradient_norm(wrapper: OptimWrapper, order: float) -> torch.Tensor:
    """Return a norm of all gradients, not finite if one of them holds NaN or infinity."""
    gradients = [
        parameter.grad
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
        if parameter.grad is not None
    ]
    if not gradients:
        return torch.zeros(())
    return torch.nn.utils.get_total_norm(gradients, norm_type=order).float()


def _is_finite(value) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all())
    return not isinstance(value, float) or math.isfinite(value)


def _check_state(runner, step: int) -> None:
    """Refuse to go on with buffers, such as running means, that are not finite."""
    if name := first_non_finite(runner.model.state_dict()):
        raise NonFiniteError(
            f'Iteration {step}: {name} of the model is not finite, so the training cannot go '
            'on from here; the last checkpoint is from before. Resume from it with other data '
            'or a lower learning rate'
        )


def first_non_finite(state: Mapping) -> str | None:
    """Return the name of a tensor that must be finite and is not, or None."""
    for name, tensor in state.items():
        if must_be_finite(name, tensor) and not tensor.isfinite().all():
            return name
    return None
