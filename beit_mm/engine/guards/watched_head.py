import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

SOFTMAX_LOSSES = ('CrossEntropyLoss', 'LabelSmoothLoss', 'SoftTargetCrossEntropyLoss')
# Of a step: enough to see a tendency, and little beside the step itself.
MOST_ROWS = 4096
MOST_LOGITS = 2**22


@dataclass
class Seen:
    """What a head answered in one step: at most 4096 rows of it."""

    logits: Tensor  # (N, K)
    targets: Tensor | None = None  # (N, K), rows of mass 1, or 0 where nothing is asked
    smoothed: Tensor | None = None  # (N, K), what the loss makes of them
    weights: Tensor | None = None  # (K,), of the classes in the loss


@dataclass
class WatchedHead:
    """A module that is called once a step or more, and what its call says."""

    name: str  # in the config
    unit: str  # of what is classified, in the plural
    module: nn.Module
    is_loss: bool

    @torch.no_grad()
    def read(self, args: tuple, kwargs: dict, output) -> Seen | None:
        """From one call of the module; None if it isn't a choice among two or more classes."""
        logits = (args[0] if self.is_loss else output).detach()
        if logits.ndim not in (2, 4) or logits.shape[1] < 2 or not logits.numel():
            return None
        classes = logits.shape[1]
        if not self.is_loss:
            return Seen(logits[:: math.ceil(len(logits) / _most_rows(classes))].float())
        targets = args[1]
        if logits.ndim == 4:
            step = math.ceil(math.sqrt(logits[:, 0].numel() / _most_rows(classes)))
            grid = (..., slice(step // 2, None, step), slice(step // 2, None, step))
            logits, targets = logits[grid].movedim(1, -1), targets[grid]
            if targets.ndim == 4:
                targets = targets.movedim(1, -1)
            logits, targets = logits.flatten(0, 2), targets.flatten(0, 2)
        stride = math.ceil(len(logits) / _most_rows(classes))
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
        weights = getattr(getattr(self.module, 'ce', self.module), 'class_weight', None)
        if weights is not None:
            weights = logits.new_tensor(weights)
        return Seen(logits, targets.float(), smoothed * targets.sum(1, keepdim=True), weights)


def watched_head(model: nn.Module) -> WatchedHead | None:
    """The head of a masked image model, classifier or segmentor, if it chooses among classes."""
    head = getattr(model, 'head', None)
    if hasattr(model, 'usage_counts') and hasattr(model, 'tokenizer'):
        proj = getattr(head, 'proj', None)
        if getattr(head, 'vocab_size', None) is None or not isinstance(proj, nn.Module):
            return None
        return WatchedHead('model.head', 'masked patches', proj, is_loss=False)
    for name, key, unit in (
        ('decode_head', 'loss_decode', 'pixels'),
        ('head', 'loss_module', 'images'),
    ):
        part = getattr(model, name, None)
        part = part[-1] if isinstance(part, nn.ModuleList) else part  # of a cascade
        loss = getattr(part, key, None)
        for one in loss if isinstance(loss, nn.ModuleList) else [loss]:
            sigmoid = getattr(getattr(one, 'ce', one), 'use_sigmoid', False)
            if type(one).__name__ in SOFTMAX_LOSSES and not sigmoid:
                return WatchedHead(f'model.{name}', unit, one, is_loss=True)
    return None


def _most_rows(classes: int) -> int:
    return max(min(MOST_ROWS, MOST_LOGITS // classes), 1)
