from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import FeatureExtractor, UserError

Size = tuple[int, int]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrozenFeatures(FeatureExtractor):
    """Base of pretrained, frozen models whose patch features a tokenizer learns from (BEiT v2).

    A subclass defines :meth:`featmap` and calls :meth:`freeze` at the end of its ``__init__``. It
    has its weights when it is built, no gradients, and stays in eval mode.

    Args:
        dims: Channels of the features.
        mean, std: Of the model's own normalization, for pixels in [0, 1].
        input_size: (H, W) or one number that images are resized to (bicubic, antialiased). None
            takes them as they are.
        interpolate: Resize features of another grid than the tokenizer's (bilinear); without it
            they are an error.
    """

    def __init__(
        self,
        dims: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        input_size: int | Sequence[int] | None = None,
        interpolate: bool = False,
    ):
        super().__init__()
        self.dims = dims
        self.input_size = as_size(input_size)
        self.interpolate = interpolate
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    @abstractmethod
    def featmap(self, images: Tensor) -> Tensor:
        """Return patch features (B, dims, h, w) of normalized images (B, C, H, W)."""

    @torch.no_grad()
    def forward(self, images: Tensor, grid: Size | None = None) -> Tensor:
        if self.input_size is not None and tuple(images.shape[-2:]) != self.input_size:
            images = F.interpolate(images, self.input_size, mode='bicubic', antialias=True)
            images = images.clamp(0, 1)
        features = self.featmap((images - self.mean) / self.std)  # (B, dims, h, w)
        if features.shape[1] != self.dims:
            raise UserError(
                f'{type(self).__name__}.dims={self.dims}, but {self.name} gives '
                f'{features.shape[1]} channels; set dims={features.shape[1]}, or choose another '
                'output'
            )
        own = tuple(features.shape[-2:])
        if grid is not None and own != tuple(grid):
            if not self.interpolate:
                raise UserError(
                    f'{self.name} has {own[0]} x {own[1]} patches of images of '
                    f'{images.shape[-2]} x {images.shape[-1]} pixels (height x width), the '
                    f'tokenizer {grid[0]} x {grid[1]}; change input_size of '
                    f'{type(self).__name__}, or set interpolate=True'
                )
            features = F.interpolate(features.float(), tuple(grid), mode='bilinear')
        return features.permute(0, 2, 3, 1)

    @property
    def name(self) -> str:
        return type(self).__name__

    def freeze(self) -> None:
        """Switch off gradients and training mode."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> 'FrozenFeatures':
        return super().train(False)


def as_size(size: int | Sequence[int] | None) -> Size | None:
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else tuple(size)
