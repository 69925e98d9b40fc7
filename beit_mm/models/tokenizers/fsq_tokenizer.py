import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from beit_mm.contracts.constructor import with_defaults
from beit_mm.models.layers.joint_sum import JointBatchNorm2d
from beit_mm.models.tokenizers.conv_tokenizer import ConvTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class FSQTokenizer(ConvTokenizer):
    """Finite scalar quantization (arXiv 2309.15505); the vocabulary is the product of the levels.

    Args:
        levels: See :class:`FSQ`.
        scale: A number standardizes each dimension over the batches of all processes and their
            positions (batch normalization without affine part, running statistics in eval mode)
            and multiplies by this: the numbers can then not all run to one end of the tanh, which
            leaves a single token. None takes the encoder's output as it is (the paper).
        kwargs: See :class:`ConvTokenizer`.
    """

    def __init__(self, levels: Sequence[int] = (8, 6, 5), scale: float | None = None, **kwargs):
        quantizer = MODELS.build(dict(type='beit_mm.FSQ', levels=levels))
        super().__init__(quantizer, len(levels), **kwargs)
        self.scale = scale
        if scale is not None:
            self.norm = JointBatchNorm2d(len(levels))

    @classmethod
    def vocab_size_of(cls, config: Mapping) -> int:
        return math.prod(with_defaults(cls, config)['levels'])

    def vectors(self, images: Tensor) -> Tensor:
        z = super().vectors(images)
        if self.scale is None:
            return z
        return self.scale * self.norm(z.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
