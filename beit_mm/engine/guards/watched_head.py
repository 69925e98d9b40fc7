import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import MIMHead, TokenSource
from beit_mm.contracts.runner_access import in_eval_mode

SOFTMAX_LOSSES = ('CrossEntropyLoss', 'LabelSmoothLoss', 'SoftTargetCrossEntropyLoss')
# Per step: enough to see a tendency, and little beside the step itself.
MAX_ROWS = 4096
MAX_LOGITS = 2**22


@dataclass
class Seen:
    """What a head answered and what was asked, as sums over rows, steps and processes.

    Attributes:
        predicted: Answers per class, (K,).
        targets: Targets per class, (K,).
        largest: The largest of ``predicted`` and of ``targets`` in a step, (2,).
        loss: Cross-entropies in nats, and what they are divided by, (2,).
        masses: Targets per class as the loss smooths and mixes them, without and with the weights
            of the classes, (2, K).
    """

    predicted: Tensor
    targets: Tensor
    largest: Tensor
    loss: Tensor
    masses: Tensor

    def flatten(self) -> Tensor:
        """Return all numbers as (4K + 4,)."""
        return torch.cat([value.flatten() for value in vars(self).values()])

    @classmethod
    def unflatten(cls, numbers: Tensor) -> 'Seen':
        classes = len(numbers) // 4 - 1
        *parts, masses = numbers.split([classes, classes, 2, 2, 2 * classes])
        return cls(*parts, masses.view(2, -1))


@dataclass
class WatchedHead(ABC):
    """A head that chooses among classes, and how to listen to it from outside.

    Attributes:
        name: The config key.
        unit: What is classified, in the plural.
        module: The module that is called in each step.
        labelled: The targets are labels of a data set, not tokens.
    """

    name: str
    unit: str
    module: nn.Module
    labelled = True

    @abstractmethod
    def watch(self, see: Callable[[Seen | None], None]) -> Callable[[], None]:
        """Call ``see`` with what each call of the head says; return a function that ends it."""


class LossHead(WatchedHead):
    """A head of mmpretrain or mmseg, read at the softmax loss that it calls."""

    def watch(self, see: Callable[[Seen | None], None]) -> Callable[[], None]:
        def listen(module, args, kwargs, output):
            see(self.read(*args[:2], **kwargs))

        return self.module.register_forward_hook(listen, with_kwargs=True).remove

    @torch.no_grad()
    def read(self, logits: Tensor, targets: Tensor, **kwargs) -> Seen | None:
        """Return what a call of the loss says; None unless it is a choice among classes."""
        logits = logits.detach()
        if logits.ndim not in (2, 4) or logits.shape[1] < 2 or not logits.numel():
            return None
        classes = logits.shape[1]
        if logits.ndim == 4:
            step = math.ceil(math.sqrt(logits[:, 0].numel() / _max_rows(classes)))
            grid = (..., slice(step // 2, None, step), slice(step // 2, None, step))
            logits, targets = logits[grid].movedim(1, -1), targets[grid]
            if targets.ndim == 4:
                targets = targets.movedim(1, -1)
            logits, targets = logits.flatten(0, 2), targets.flatten(0, 2)
        stride = math.ceil(len(logits) / _max_rows(classes))
        logits, targets = logits[::stride].float(), targets[::stride]
        if not targets.is_floating_point():
            ids = targets.flatten()  # (N,), or mmpretrain's (N, 1)
            if len(ids) != len(logits):
                return None
            asked = (ids >= 0) & (ids < classes) & (ids != kwargs.get('ignore_index', -100))
            targets = torch.zeros_like(logits)
            targets.scatter_(1, ids.clamp(0, classes - 1).long()[:, None], 1.0)
            targets *= asked[:, None]
        smooth = getattr(self.module, 'smooth_label', None)
        smoothed = smooth(targets.float()) if smooth is not None else targets.float()
        weights = _options(self.module).get('class_weight')
        weights = logits.new_ones(classes) if weights is None else logits.new_tensor(weights)
        asked = targets.float().sum(1)
        return _sums(logits, targets.float(), smoothed * asked[:, None], weights)


class TokenHead(WatchedHead):
    """The MIMHead of a masked image model, read at its ``loss``."""

    labelled = False

    def watch(self, see: Callable[[Seen | None], None]) -> Callable[[], None]:
        head, loss = self.module, self.module.loss

        def watched(features: Tensor, targets: Tensor, **extras: Tensor) -> dict[str, Tensor]:
            losses = loss(features, targets, **extras)
            see(self.read(features, targets, losses))
            return losses

        head.loss = watched  # of this object alone
        return partial(delattr, head, 'loss')

    @torch.no_grad()
    def read(self, features: Tensor, targets: Tensor, losses: dict[str, Tensor]) -> Seen | None:
        """Return what a call of ``loss`` says: answers of some rows, targets and loss of all."""
        if not len(features):
            return None
        with in_eval_mode(self.module):
            classes = self.module.predict(features[:1]).shape[-1]
            rows = features[:: math.ceil(len(features) / _max_rows(classes))]
            logits = self.module.predict(rows)
        predicted = torch.bincount(logits.argmax(-1), minlength=classes).float()
        counts = torch.bincount(targets, minlength=classes).float()
        loss = losses.get('cross_entropy')
        if loss is None:
            loss = sum(value.mean() for name, value in losses.items() if 'loss' in name)
        sums = torch.stack([loss.float() * len(targets), counts.sum()])
        is_used = sums.isfinite().all()  # else the batch is left out
        return Seen(
            predicted,
            counts,
            torch.stack([predicted.max(), counts.max()]),
            torch.where(is_used, sums, 0.0),
            torch.where(is_used, counts, 0.0).expand(2, -1),
        )


def watched_head(model: nn.Module) -> WatchedHead | None:
    """Return the head of a masked image model, classifier or segmentor, if it chooses classes."""
    if isinstance(model, TokenSource):
        heads = [(name, head) for name, head in model.named_children() if isinstance(head, MIMHead)]
        if not heads or model.vocab_size is None:
            return None
        return TokenHead(f'model.{heads[0][0]}', 'masked patches', heads[0][1])
    for name, key, unit in (
        ('decode_head', 'loss_decode', 'pixels'),
        ('head', 'loss_module', 'images'),
    ):
        part = dict(model.named_children()).get(name)
        if isinstance(part, nn.ModuleList):
            part = part[-1]  # of a cascade
        loss = dict(part.named_children()).get(key) if part is not None else None
        for one in loss if isinstance(loss, nn.ModuleList) else [loss]:
            if type(one).__name__ in SOFTMAX_LOSSES and not _options(one).get('use_sigmoid'):
                return LossHead(f'model.{name}', unit, one)
    return None


def _options(loss: nn.Module) -> dict:
    """Return the attributes of a loss, of the one inside a loss with smooth labels."""
    return vars(dict(loss.named_children()).get('ce', loss))


def _sums(logits: Tensor, targets: Tensor, smoothed: Tensor, weights: Tensor) -> Seen:
    """Add up rows.

    Args:
        logits: (N, K)
        targets: (N, K), rows of mass 1, or 0 where nothing is asked.
        smoothed: (N, K), what the loss makes of them.
        weights: (K,), of the classes in the loss.
    """
    predicted = torch.zeros_like(weights).index_add_(0, logits.argmax(1), targets.sum(1))
    counts = targets.sum(0)
    mass = smoothed * weights
    losses = -(mass * logits.log_softmax(1)).sum(1)
    is_used = losses.isfinite()  # else the batch is left out
    mass = mass * is_used[:, None]
    return Seen(
        predicted,
        counts,
        torch.stack([predicted.max(), counts.max()]),
        torch.stack([torch.where(is_used, losses, 0.0).sum(), mass.sum()]),
        torch.stack([(smoothed * is_used[:, None]).sum(0), mass.sum(0)]),
    )


def _max_rows(classes: int) -> int:
    return max(min(MAX_ROWS, MAX_LOGITS // classes), 1)
