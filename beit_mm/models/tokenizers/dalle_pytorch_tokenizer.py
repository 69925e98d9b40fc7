import torch
import torch.nn as nn

from beit_mm.models.layers.dalle_pytorch_blocks import dalle_pytorch_decoder, dalle_pytorch_encoder
from beit_mm.models.tokenizers.dvae_tokenizer import DVAETokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class DALLEPytorchTokenizer(DVAETokenizer):
    """The dVAE of lucidrains/DALLE-pytorch (``dalle_pytorch.DiscreteVAE``), for comparisons.

    All layers are equally wide and the residual blocks are added as they are; codes are drawn from
    a standard normal distribution. The images are mapped to mean 0.5, standard deviation 0.5
    (x -> 2x - 1) inside. Its squared error is that of the mapped images, 4 times the one here,
    which a KL weight has to be divided by; without a KL term no step of Adam depends on it.

    The KL term there is summed over the batch and over positions where :class:`DVAETokenizer` takes
    the mean: a ``kl_loss_weight`` is multiplied by B * h * w for equal strength.

    Args:
        stride: Pixels per token and side, 2 to the power of its ``num_layers``.
        width: Its ``hidden_dim``.
        num_blocks: Its ``num_resnet_blocks``.
        code_dim: Its ``codebook_dim``.
        kwargs: As :class:`DVAETokenizer`.
    """

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

    def _build(self, width: int, num_blocks: int, code_dim: int) -> None:
        self.check_power_of_two()
        sizes = dict(stride=self.stride, width=width, num_blocks=num_blocks)
        self.encoder = dalle_pytorch_encoder(self.in_channels, self.vocab_size, **sizes)
        self.codebook = nn.Parameter(torch.randn(self.vocab_size, code_dim))
        maps = self.in_channels * self.recon_loss.maps_per_channel
        self.decoder = dalle_pytorch_decoder(code_dim, maps, **sizes)
