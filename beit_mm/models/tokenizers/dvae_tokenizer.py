from beit_mm.contracts import check_integers
from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer, build_recon_loss
from beit_mm.registry import MODELS


@MODELS.register_module()
class DVAETokenizer(AutoencoderTokenizer):
    """Discrete variational auto-encoder (BEiT section 2.1; DALL-E, arXiv 2102.12092, appendix A).

    A convolutional encoder gives V logits at each position of the token grid, and a token is their
    argmax. In training :class:`GumbelQuantizer` mixes codes by a relaxed sample, and a mirrored
    decoder draws the image. The loss is

        recon + kl_weight * KL + usage_weight * (ln V - H(mean posterior)),

    where ``recon`` is the mean over pixels and channels.

    Args:
        stride: Pixels per token and side, a power of two.
        width: Channels on the token grid; each higher resolution has half as many.
        num_blocks: Residual blocks on the token grid, in the encoder and in the decoder.
        code_dim, temperature, kl_weight, logit_scale, relaxation: See :class:`GumbelQuantizer`.
        usage_weight, usage_target, reset_dead_codes: See :class:`GumbelQuantizer`.
        recon_loss, data_init: See :class:`AutoencoderTokenizer`.
    """

    coder = 'Conv'  # ConvEncoder and ConvDecoder
    code_std = None
    renamed_tensors = AutoencoderTokenizer.renamed_tensors | {
        'codebook': 'quantizer.codebook',
        'logit_norm.': 'quantizer.logit_norm.',
    }

    def __init__(
        self,
        vocab_size: int = 8192,
        in_channels: int = 3,
        stride: int = 8,
        width: int = 64,
        num_blocks: int = 2,
        code_dim: int = 64,
        temperature: float = 1.0,
        kl_weight: float = 0.0,
        recon_loss: str | dict = 'mse',
        logit_scale: float | None = None,
        usage_weight: float = 0.0,
        relaxation: str = 'soft',
        usage_target: float | None = None,
        data_init: float | None = None,
        reset_dead_codes: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        name = type(self).__name__
        check_integers(name, 2, vocab_size=vocab_size)
        check_integers(name, 1, stride=stride, width=width, code_dim=code_dim)
        recon_loss = build_recon_loss(recon_loss, name)
        sizes = dict(stride=stride, width=width, num_blocks=num_blocks)
        quantizer = dict(
            type='beit_mm.GumbelQuantizer',
            vocab_size=vocab_size,
            code_dim=code_dim,
            code_std=self.code_std,
            relaxation=relaxation,
            temperature=temperature,
            kl_weight=kl_weight,
            usage_weight=usage_weight,
            usage_target=usage_target,
            logit_scale=logit_scale,
            reset_dead_codes=reset_dead_codes,
        )
        encoder = dict(type=f'beit_mm.{self.coder}Encoder', out_channels=vocab_size)
        decoder = dict(type=f'beit_mm.{self.coder}Decoder', in_channels=code_dim)
        maps = in_channels * recon_loss.maps_per_channel
        super().__init__(
            # The order in which they are built is that of their random numbers.
            encoder=MODELS.build(dict(encoder, in_channels=in_channels, **sizes)),
            quantizer=MODELS.build(quantizer),
            decoder=MODELS.build(dict(decoder, out_channels=maps, **sizes)),
            in_channels=in_channels,
            stride=stride,
            recon_loss=recon_loss,
            data_init=data_init,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
