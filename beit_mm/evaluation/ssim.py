import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def ssim(image: Tensor, other: Tensor) -> float:
    """Compute the structural similarity of two images (C, H, W) in [0, 1] (Wang et al. 2004).

    It is the mean over channels and the Gaussian windows of 11 x 11 pixels that lie within the
    image. A smaller image has one window of its own size.
    """
    pair = torch.stack([image, other]).double()
    size = min(WINDOW, *pair.shape[-2:])
    size -= 1 - size % 2  # odd
    at = torch.arange(size, dtype=torch.float64, device=pair.device) - size // 2
    line = torch.exp(-at.square() / (2 * SIGMA**2))
    window = torch.outer(line, line) / line.sum() ** 2

    def smooth(values: Tensor) -> Tensor:  # (C, H, W)
        return F.conv2d(values[:, None], window[None, None])[:, 0]

    x, y = pair
    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    cov = smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * cov + K2**2) / (var_x + var_y + K2**2)
    return (luminance * structure).mean().item()
