import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import FeatureExtractor, UserError
from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchPixels(FeatureExtractor):
    """The pixels of a patch as its features, ordered by channel, row and column.

    Args:
        normalize: Zero mean and unit variance within each patch (MAE's targets). Without it
            :meth:`image` gives the pixels back.
    """

    def __init__(self, patch_size: int, in_channels: int = 3, normalize: bool = False):
        super().__init__()
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.normalize = normalize
        self.can_draw = not normalize
        self.dims = in_channels * patch_size**2

    def forward(self, images: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        grid = check_patches(self, images, grid)
        patches = F.unfold(images, self.patch_size, stride=self.patch_size).transpose(1, 2)
        if self.normalize:
            mean, var = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
            patches = (patches - mean) / (var + 1e-6).sqrt()
        return patches.reshape(patches.shape[0], *grid, -1)

    def image(self, features: Tensor) -> Tensor:
        patches = features.unflatten(3, (-1, self.patch_size, self.patch_size))
        return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def check_patches(
    features: FeatureExtractor, images: Tensor, grid: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the grid of the images; a UserError unless channels and grid are what is expected."""
    name, size = type(features).__name__, features.patch_size
    if images.shape[1] != features.in_channels:
        raise UserError(
            f'features.in_channels={features.in_channels} of {name}, but the images have '
            f'{images.shape[1]} channels; set in_channels={images.shape[1]}'
        )
    own = (images.shape[2] // size, images.shape[3] // size)
    if images.shape[2] % size or images.shape[3] % size or (grid and own != tuple(grid)):
        raise UserError(
            f'features.patch_size={size} of {name} gives {own[0]} x {own[1]} patches of images of '
            f'{images.shape[2]} x {images.shape[3]} pixels (height x width), expected '
            f'{"a whole number" if grid is None else f"{grid[0]} x {grid[1]}"}; set it to the '
            "tokenizer's stride"
        )
    return own
