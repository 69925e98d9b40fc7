from beit_mm.models.tokenizers.dvae_tokenizer import DVAETokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class DALLEPytorchTokenizer(DVAETokenizer):
    """The dVAE of lucidrains/DALLE-pytorch (``dalle_pytorch.DiscreteVAE``), for comparisons.

    All layers are equally wide and the residual blocks are added as they are; codes are drawn from
    a standard normal distribution. Its squared error is that of images in [-1, 1], 4 times the one
    here, which a KL weight has to be divided by; without a KL term no step of Adam depends on it.

    The KL term there is summed over the batch and over positions where :class:`GumbelQuantizer`
    takes the mean: a ``kl_loss_weight`` is multiplied by B * h * w for equal strength.

    Args:
        stride: Pixels per token and side, 2 to the power of its ``num_layers``.
        width: Its ``hidden_dim``.
        num_blocks: Its ``num_resnet_blocks``.
        code_dim: Its ``codebook_dim``.
        kwargs: See :class:`DVAETokenizer`.
    """

    coder = 'DALLEPytorch'
    code_std = 1.0

    def __init__(
        self,
        vocab_size: int = 512,
        in_channels: int = 3,
        stride: int = 8,
        width: int = 64,
        num_blocks: int = 1,
        code_dim: int = 512,
        **kwargs,
    ):
        super().__init__(vocab_size, in_channels, stride, width, num_blocks, code_dim, **kwargs)
