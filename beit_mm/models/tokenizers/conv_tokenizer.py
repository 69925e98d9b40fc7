from beit_mm.contracts import Quantizer, check_integers
from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer, build_recon_loss
from beit_mm.registry import MODELS


class ConvTokenizer(AutoencoderTokenizer):
    """An AutoencoderTokenizer of ConvEncoder and ConvDecoder; subclasses name the quantizer.

    Args:
        quantizer: Takes and gives ``code_dim`` channels; few keep the whole codebook in use.
        stride: Pixels per token and side, a power of two.
        width: Channels on the token grid; each higher resolution has half as many.
        num_blocks: Residual blocks on the token grid, in the encoder and in the decoder.
        recon_loss, data_init: See :class:`AutoencoderTokenizer`.
    """

    def __init__(
        self,
        quantizer: dict | Quantizer,
        code_dim: int,
        in_channels: int = 3,
        stride: int = 8,
        width: int = 64,
        num_blocks: int = 2,
        recon_loss: str | dict = 'mse',
        data_init: float | None = 1.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        name = type(self).__name__
        check_integers(name, 1, stride=stride, width=width)
        recon_loss = build_recon_loss(recon_loss, name)
        maps = in_channels * recon_loss.maps_per_channel
        sizes = dict(stride=stride, width=width, num_blocks=num_blocks)
        encoder = dict(type='beit_mm.ConvEncoder', in_channels=in_channels, out_channels=code_dim)
        decoder = dict(type='beit_mm.ConvDecoder', in_channels=code_dim, out_channels=maps)
        super().__init__(
            encoder=MODELS.build(encoder | sizes),
            decoder=MODELS.build(decoder | sizes),
            quantizer=quantizer,  # built after them where it is a config: it may draw numbers
            in_channels=in_channels,
            stride=stride,
            recon_loss=recon_loss,
            data_init=data_init,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
