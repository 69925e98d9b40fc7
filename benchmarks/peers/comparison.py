"""Load the same random weights into our model and a peer's, and compare values and gradients."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.models.backbones import BEiTEncoder
from beit_mm.models.necks import MaskedPatchNeck

CLASSES, VOCAB = 10, 64


class Size(NamedTuple):
    """Shape of the models that are compared; ``indices`` are the layers of feature maps."""

    name: str
    dims: int
    layers: int
    heads: int
    image: int
    patch: int
    images: int
    indices: tuple[int, ...]

    @property
    def arch(self) -> dict:
        return dict(embed_dims=self.dims, num_layers=self.layers, num_heads=self.heads)


SMALL = Size('small', 64, 4, 4, 48, 8, 2, (0, 1, 2, 3))
BASE = Size('base', 768, 12, 12, 224, 16, 1, (3, 5, 7, 11))


class Equal(NamedTuple):
    """Largest errors between two functions with the same weights and inputs."""

    what: str
    reference: str
    size: str
    values: int
    outputs: float
    gradients: float


class Ours(nn.Module):
    """Backbone, neck and head, as the algorithms of the configs put them together."""

    def __init__(self, backbone: nn.Module, neck: nn.Module | None = None, head=None):
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        outputs = self.backbone(x, mask)
        if isinstance(self.neck, MaskedPatchNeck):
            return (self.head.predict(self.neck(outputs, mask)),)
        if self.neck is not None:
            outputs = self.neck(outputs)
        return outputs if self.head is None else (self.head(*outputs),)


class Pair(NamedTuple):
    """Two models that should be the same function.

    Attributes:
        names: Named weights of ``theirs`` -> of ``ours``.
        run: Outputs of ``theirs`` for images and a mask.
        is_masked: Ours gets the mask as well.
    """

    what: str
    reference: str
    ours: Ours
    theirs: nn.Module
    names: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    run: Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, ...]]
    is_masked: bool = False


def encoder(size: Size, **kwargs) -> BEiTEncoder:
    """Return our encoder without memory, which :func:`allocate` gives it."""
    settings = dict(arch=size.arch, img_size=size.image, patch_size=size.patch)
    with torch.device('meta'):
        return BEiTEncoder(**(settings | kwargs))


def randomize(module: nn.Module) -> nn.Module:
    """Draw every parameter from values that matter, so that none can be left out unseen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1 and not name.endswith('table') and 'token' not in name:
                std = parameter[0].numel() ** -0.5
            else:
                std = 0.3
            parameter.normal_(std=std, generator=generator)
            if parameter.ndim == 1 and name.endswith('norm.weight'):
                parameter += 1
    module.eval()  # which returns nothing in mmpretrain
    return module


def allocate(module: nn.Module) -> nn.Module:
    """Give memory to parts that were built on the meta device to save the time of their init."""
    for part in module.children():
        if any(parameter.is_meta for parameter in part.parameters()):
            part.to_empty(device='cpu')
            with torch.no_grad():  # what no weight is loaded into may hold NaN
                for parameter in part.parameters():
                    parameter.zero_()
    return module


def largest_error(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference as a part of the largest value.

    Raises:
        ValueError: All values are 0, or some are not finite.
    """
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    if not math.isfinite(error):
        raise ValueError('Nothing to compare: all values are 0, or some are not finite')
    return error


def compare(size: Size, pair: Pair) -> Equal:
    """Compare outputs and the gradients of all weights of two models, with random weights.

    Raises:
        ValueError: A weight of either model has no counterpart.
    """
    ours, theirs = allocate(pair.ours).eval(), randomize(allocate(pair.theirs))
    _load(ours, pair.names(dict(theirs.named_parameters())), pair.what)
    generator = torch.Generator().manual_seed(1)
    side = size.image // size.patch
    x = torch.randn(size.images, 3, size.image, size.image, generator=generator)
    mask = torch.rand(size.images, side, side, generator=generator) < 0.4
    found = ours(x, mask if pair.is_masked else None)
    wanted = pair.run(theirs, x, mask)
    cotangents = [torch.randn(out.shape, generator=generator) for out in wanted]
    for outputs in (found, wanted):
        pairs = zip(outputs, cotangents, strict=True)
        sum((out * cotangent).sum() for out, cotangent in pairs).backward()
    error = max(largest_error(a, b) for a, b in zip(found, wanted, strict=True))
    gradients = [
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for model in (ours, theirs)
    ]
    gradient_error = max(
        largest_error(gradients[0][name], gradient)
        for name, gradient in pair.names(gradients[1]).items()
    )
    values = sum(out.numel() for out in wanted)
    return Equal(pair.what, pair.reference, size.name, values, error, gradient_error)


def _load(ours: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    report = ours.load_state_dict({k: v.detach() for k, v in weights.items()}, strict=False)
    parameters = {name for name, _ in ours.named_parameters() if not name.endswith('mask_token')}
    left_out = sorted(parameters.intersection(report.missing_keys))
    if left_out or report.unexpected_keys:
        raise ValueError(f'{what}: missing {left_out}, unexpected {report.unexpected_keys}')
