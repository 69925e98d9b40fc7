import math
from collections.abc import Sequence

import torch
from torch import Tensor

from beit_mm.models.layers.joint_batch_norm import JointBatchNorm2d
from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer
from beit_mm.models.tokenizers.vq_library import vq_library
from beit_mm.registry import MODELS


@MODELS.register_module()
class FSQTokenizer(AutoencoderTokenizer):
    """Finite scalar quantization (arXiv 2309.15505): each of a few numbers is bounded and rounded.

    There is no codebook, and no loss beside the reconstruction. The vocabulary is the product of
    the levels. The quantizer is that of vector-quantize-pytorch. Its bound is a tanh, and all
    numbers may run to one end of it in the first steps, where no gradient brings them back: then
    a single token is left. ``scale`` prevents that.

    Args:
        levels: Values of each dimension; the paper takes (8, 6, 5) for about 2^8 tokens, (8, 8, 8)
            for 2^9, (8, 5, 5, 5) for 2^10, (7, 5, 5, 5, 5) for 2^12, and none under 5.
        scale: A number standardizes each dimension over the batches of all processes and their
            positions (batch normalization without affine part, running statistics in eval mode)
            and multiplies by this. None takes the encoder's output as it is (the paper).
        kwargs: As :class:`AutoencoderTokenizer`, without ``vocab_size`` and ``code_dim``.
    """

    def __init__(self, levels: Sequence[int] = (8, 6, 5), scale: float | None = None, **kwargs):
        if min(levels, default=0) < 3:
            raise ValueError(
                f'FSQTokenizer.levels={tuple(levels)}: expected 3 or more in each dimension; for '
                'two values of each take an LFQTokenizer'
            )
        super().__init__(math.prod(levels), len(levels), **kwargs)
        self.quantizer = vq_library('FSQTokenizer').FSQ(list(levels))
        self.scale = scale
        if scale is not None:
            self.norm = JointBatchNorm2d(len(levels))

    def vectors(self, images: Tensor) -> Tensor:
        z = super().vectors(images)
        if self.scale is None:
            return z
        return self.scale * self.norm(z.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        codes, ids = self.quantizer(z.flatten(1, 2))
        return codes.view_as(z), ids.long().view(z.shape[:-1]), {}

    @torch.no_grad()
    def ids_of(self, z: Tensor) -> Tensor:
        return self.quantize(z)[1]

    def codes_of(self, ids: Tensor) -> Tensor:
        return self.quantizer.indices_to_codes(ids.flatten()[None]).view(*ids.shape, -1)
