"""Images for proofs, and how an image becomes one that the model takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.apis.export.proof import compare, relative_difference
from beit_mm.apis.export.subject import Subject
from beit_mm.contracts.config_walk import class_name
from beit_mm.contracts.packages import need
from beit_mm.models.features.frozen_features import as_size

OTHER_SIZE = 'a picture of another size (not judged)'


def draw_image(subject: Subject, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return an image (H, W, C) of smooth colors and a little noise, always the same.

    It is uint8, or float32 in units of the pixels where white is not 255.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, subject.in_channels, 5, 5, generator=generator)
    image = F.interpolate(coarse, size or subject.size, mode='bicubic')[0].permute(1, 2, 0)
    image = image + 0.05 * torch.randn(image.shape, generator=generator)
    pixels = (image.clamp(0, 1) * subject.white).round().numpy()
    return pixels.astype(np.uint8) if subject.white == 255 else pixels.astype(np.float32)


def compare_pictures(subject: Subject, run: Callable[[Any], Tensor], what: str) -> dict[str, float]:
    """Compare the features of pictures, by another library and by our own reading of them.

    Args:
        run: Returns the tokens (1, 1+N, C) of a PIL image.

    Returns:
        The largest difference for a picture of the model's size, and under ``OTHER_SIZE`` for a
        larger one of another shape, which depends on how it is resized and is not judged.
    """
    if subject.in_channels != 3 or subject.white != 255:
        return {}
    from_array = need('PIL.Image', 'The proof of an export').fromarray
    resizing, found = Resizing.of(subject), {}
    height, width = resizing.source
    sizes = {what: resizing.source, OTHER_SIZE: (height * 3 // 2, width * 2)}
    for name, size in sizes.items():
        picture = from_array(draw_image(subject, size))
        theirs, ours = run(picture)[:, 1:], subject.embed(picture)
        if name == what and resizing.is_exact:
            found[name] = compare(dict(tokens=theirs), dict(tokens=ours), name)
        elif theirs.shape == ours.shape:  # else ours are not resized to one size
            found[OTHER_SIZE] = relative_difference(theirs, ours)
    return found


def to_pixels(image: np.ndarray) -> Tensor:
    """Return a batch of one (1, C, H, W), float32, of an image (H, W, C)."""
    return torch.tensor(image, dtype=torch.float32).permute(2, 0, 1)[None]


@dataclass(frozen=True)
class Resizing:
    """How an image of any size becomes one of the model's: resized, then cropped in the center.

    Attributes:
        edge: The shorter side after the resize; None resizes to ``size`` whatever the shape.
        size: (H, W) of the crop.
        interpolation: ``bicubic``, ``bilinear``, ...
        is_exact: It is what the model's own pipeline does.
    """

    edge: int | None
    size: tuple[int, int]
    interpolation: str = 'bicubic'
    is_exact: bool = True

    @classmethod
    def of(cls, subject: Subject) -> 'Resizing':
        """Read it from the pipeline in the model's description."""
        names = resizing_steps(subject)
        height, width = subject.size
        square = height == width
        if list(names) == ['ResizeEdge', 'CenterCrop']:
            step, crop = names['ResizeEdge'], as_size(names['CenterCrop']['crop_size'])
            if step.get('edge', 'short') == 'short':
                edge = round(step['scale'] * min(subject.size) / min(crop))
                kind = step.get('interpolation', 'bilinear')
                return cls(edge, subject.size, kind, crop == subject.size)
        if list(names) == ['Resize'] and not names['Resize'].get('keep_ratio', False):
            step = names['Resize']
            own = as_size(step['scale'])[::-1] == subject.size  # (width, height)
            return cls(None, subject.size, step.get('interpolation', 'bilinear'), own)
        kind = names.get('TwoViewResizedCrop', {}).get('interpolation', 'bicubic')
        own = as_size(names.get('TwoViewResizedCrop', {}).get('size', subject.size)) == subject.size
        exact = list(names) in ([], ['TwoViewResizedCrop']) and square and own
        if subject.task == 'segmentation':  # every pixel has a class: nothing is cropped
            return cls(None, subject.size, kind, is_exact=not names)
        return cls(height if square else None, subject.size, kind, exact)

    @property
    def source(self) -> tuple[int, int]:
        """Return the size (H, W) of images that are cropped alone."""
        height, width = self.size
        return self.size if self.edge is None else (max(height, self.edge), max(width, self.edge))

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Return the center (H, W, C) of an image."""
        (height, width), (inner, across) = image.shape[:2], self.size
        top, left = (height - inner) // 2, (width - across) // 2
        return image[top : top + inner, left : left + across]


def resizing_steps(subject: Subject) -> dict[str, Mapping]:
    """Return what the model's own pipeline does after loading, by the names of the classes."""
    steps = subject.description.get('preprocessing', {}).get('pipeline', [])
    return {class_name(step): step for step in steps if 'Load' not in class_name(step)}


def draw_pixels(subject: Subject, number: int) -> Tensor:
    """Return random pixels (B, C, H, W), float32 from black to white."""
    image = to_pixels(draw_image(subject))
    generator = torch.Generator().manual_seed(number)
    noise = torch.rand(number - 1, *image.shape[1:], generator=generator) * subject.white
    return torch.cat([image, noise.round()])
