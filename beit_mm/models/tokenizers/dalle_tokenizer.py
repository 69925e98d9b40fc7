from torch import Tensor

from beit_mm.models.layers.dalle_blocks import DALLEDecoder, dalle_encoder
from beit_mm.models.tokenizers.dvae_tokenizer import DVAETokenizer
from beit_mm.registry import MODELS

EPS = 0.1  # pixels in [0, 1] are mapped to [EPS, 1 - EPS], where the logit is finite


@MODELS.register_module()
class DALLETokenizer(DVAETokenizer):
    """The tokenizer of BEiT v1: DALL-E's dVAE (arXiv 2102.12092, appendix A), layer by layer.

    A 7x7 convolution, four groups of residual blocks with max pooling between them and a 1x1
    convolution to the logits; the decoder mirrors it with nearest upsampling and gives the mean
    and the log scale of a logit-Laplace distribution for each channel. The first and the last
    convolutions run in float32. The pixel mapping x -> 0.8 x + 0.1 is inside.

    With the default sizes the encoder has 53.8 million parameters. State dicts of the original
    (``w`` and ``b`` for ``weight`` and ``bias``) are accepted, with the encoder's names under
    ``encoder.`` and the decoder's under ``decoder.``, or the encoder's alone without prefix
    (``dalle_encoder.pth`` of mmpretrain). Those have ids alone: the codes and their images are the
    decoder's, and asking for them is a ValueError.

    Args:
        width: Channels at full resolution; they double in each group.
        num_blocks: Residual blocks in each of the four groups.
        kwargs: Other arguments of :class:`DVAETokenizer`.
        kl_weight: 6.6 / 192 is the paper's 6.6 in the units of :class:`DVAETokenizer`.
    """

    def __init__(
        self,
        vocab_size: int = 8192,
        in_channels: int = 3,
        width: int = 256,
        num_blocks: int = 2,
        code_dim: int = 128,
        temperature: float = 1.0,
        kl_weight: float = 6.6 / 192,
        straight_through: bool = False,
        usage_window: int = 50,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        **kwargs,
    ):
        super().__init__(
            vocab_size,
            in_channels,
            stride=8,
            width=width,
            num_blocks=num_blocks,
            code_dim=code_dim,
            temperature=temperature,
            kl_weight=kl_weight,
            straight_through=straight_through,
            recon_loss=dict(type='beit_mm.LogitLaplaceReconLoss', eps=EPS),
            usage_window=usage_window,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            **kwargs,
        )
        self._decoder_is_known = False
        self._decoder_is_random = False
        self._register_state_dict_hook(_without_random_decoder)

    @property
    def can_decode(self) -> bool:
        return not self._decoder_is_random

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.training:
            self._decoder_is_known, self._decoder_is_random = True, False
        return super().loss(inputs)

    def _build(self, width: int, num_blocks: int, code_dim: int) -> None:
        self.encoder = dalle_encoder(self.in_channels, self.vocab_size, width, num_blocks)
        self.decoder = DALLEDecoder(
            self.vocab_size, code_dim, 2 * self.in_channels, width, num_blocks
        )

    @property
    def codebook(self) -> Tensor:
        return self.decoder.codebook

    def code_vectors(self) -> Tensor:
        self._check_decoder()
        return super().code_vectors()

    def decode(self, ids: Tensor) -> Tensor:
        self._check_decoder()
        return super().decode(ids)

    def _check_decoder(self) -> None:
        if not self.can_decode:
            raise ValueError(
                'DALLETokenizer was loaded from weights of an encoder alone, so its codes and '
                "images would be random; set model.head.target='ids', or model.tokenizer.init_cfg "
                'to a checkpoint with encoder.* and decoder.*'
            )

    def check_channels(self, images: Tensor) -> None:
        channels = images.shape[1]
        if channels != self.in_channels:
            raise ValueError(
                f'DALLETokenizer.in_channels={self.in_channels}, but the images have {channels} '
                "channels; OpenAI's weights are for red, green and blue alone: give the tokenizer "
                'three bands that stand for them, or train one of your own with '
                f'in_channels={channels}'
            )

    def _mapped(self, images: Tensor) -> Tensor:
        return (1 - 2 * EPS) * images + EPS

    def _code_rows(self) -> list[Tensor]:
        return [self.decoder.blocks.input.weight.transpose(0, 1)]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        # Runs before the children read the same dict, so that they find their names.
        for name in [name for name in state_dict if name.startswith(prefix)]:
            new = name[len(prefix) :]
            if new.startswith('blocks.'):
                new = f'encoder.{new}'
            for short, long in (('.w', '.weight'), ('.b', '.bias')):
                if new.endswith(short):
                    new = new[: -len(short)] + long
            state_dict[prefix + new] = state_dict.pop(name)
        encoder, decoder = (
            any(name.startswith(f'{prefix}{part}.') for name in state_dict)
            for part in ('encoder', 'decoder')
        )
        self._decoder_is_known |= decoder
        if encoder or decoder:
            self._decoder_is_random = not self._decoder_is_known
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _without_random_decoder(module: DALLETokenizer, state: dict, prefix: str, metadata) -> None:
    """Whoever loads what is saved here has no decoder either, and no digest depends on it."""
    if module._decoder_is_random:
        for name in [name for name in state if name.startswith(f'{prefix}decoder.')]:
            del state[name]
