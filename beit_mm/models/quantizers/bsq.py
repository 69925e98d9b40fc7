import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.quantizers.binary_quantizer import BinaryQuantizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class BSQ(BinaryQuantizer):
    """Binary spherical quantization (arXiv 2406.07548, section 3.1): the signs of a unit vector.

    Codes have entries +-1 / sqrt(bits), so that they are unit vectors too. Its loss and arguments
    are those of :class:`BinaryQuantizer`.
    """

    @property
    def magnitude(self) -> float:
        return self.in_dims**-0.5

    def project(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1)
