import torch
from torch import Tensor

from beit_mm.contracts import UserError, check_integers
from beit_mm.contracts.tensor_names import rename_tensors
from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer
from beit_mm.registry import MODELS

EPS = 0.1  # pixels in [0, 1] are mapped to [EPS, 1 - EPS], where the logit is finite


@MODELS.register_module()
class DALLETokenizer(AutoencoderTokenizer):
    """The tokenizer of BEiT v1: DALL-E's dVAE (arXiv 2102.12092, appendix A), layer by layer.

    :class:`DALLEEncoder`, :class:`GumbelQuantizer` and :class:`DALLEDecoder`, whose maps are mean
    and log scale of a logit-Laplace distribution for each channel. With the default sizes the
    encoder has 53.8 million parameters.

    State dicts of the original (``w`` and ``b`` for ``weight`` and ``bias``) are accepted, with the
    encoder's names under ``encoder.`` and the decoder's under ``decoder.``, or the encoder's alone
    without prefix (``dalle_encoder.pth`` of mmpretrain). With an encoder alone there are ids, but
    no codes and no images: asking for them is a UserError, and the random decoder is not saved.

    Args:
        width: Channels at full resolution; they double in each group.
        num_blocks: Residual blocks in each of the four groups.
        code_dim: Channels after the decoder's first layer.
        kl_weight: 6.6 / 192 is the paper's 6.6 in the units of :class:`GumbelQuantizer`.
        temperature, logit_scale, usage_weight, relaxation, usage_target, reset_dead_codes: See
            :class:`GumbelQuantizer`.
        data_init: See :class:`AutoencoderTokenizer`.
    """

    renamed_tensors = AutoencoderTokenizer.renamed_tensors | {
        'logit_norm.': 'quantizer.logit_norm.'
    }

    def __init__(
        self,
        vocab_size: int = 8192,
        in_channels: int = 3,
        width: int = 256,
        num_blocks: int = 2,
        code_dim: int = 128,
        temperature: float = 1.0,
        kl_weight: float = 6.6 / 192,
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
        check_integers(name, 1, width=width, code_dim=code_dim)
        sizes = dict(width=width, num_blocks=num_blocks)
        super().__init__(
            encoder=dict(type='beit_mm.DALLEEncoder', **sizes),
            quantizer=dict(
                type='beit_mm.GumbelQuantizer',
                vocab_size=vocab_size,
                code_dim=None,  # the codes are the decoder's first layer
                temperature=temperature,
                kl_weight=kl_weight,
                usage_weight=usage_weight,
                usage_target=usage_target,
                logit_scale=logit_scale,
                relaxation=relaxation,
                reset_dead_codes=reset_dead_codes,
            ),
            decoder=dict(type='beit_mm.DALLEDecoder', code_dim=code_dim, **sizes),
            in_channels=in_channels,
            stride=8,
            recon_loss=dict(type='beit_mm.LogitLaplaceReconLoss', eps=EPS),
            data_init=data_init,
            pixel_range=(EPS, 1 - EPS),
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self._decoder_is_known = False
        self._decoder_is_random = False
        self._register_state_dict_hook(_without_random_decoder)

    @property
    def can_decode(self) -> bool:
        return not self._decoder_is_random

    @property
    def has_codebook(self) -> bool:
        return not self._decoder_is_random

    def encode_at(self, images: Tensor, where: Tensor) -> Tensor:
        # The last layer, a fifth of the time, is computed for these positions alone.
        features = self.encoder.blocks[:-1](self.pixels(images)).permute(0, 2, 3, 1)
        self.check_grid(features.shape[1:3], where)
        rows = features[where]  # (M, C)
        if len(rows) == 0:  # which a convolution refuses
            return torch.empty(0, dtype=torch.long, device=rows.device)
        logits = self.encoder.blocks.output(rows.T[None, :, None])  # (1, V, 1, M)
        return self.quantizer.encode(logits.float().permute(0, 2, 3, 1)).flatten()

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.training:
            self._decoder_is_known, self._decoder_is_random = True, False
        return super().loss(inputs)

    def quantized_rows(self) -> list[Tensor]:
        return [*super().quantized_rows(), self.decoder.blocks.input.weight.transpose(0, 1)]

    def code_vectors(self) -> Tensor:
        self._check_decoder()
        return self.decoder.codebook

    def decode(self, ids: Tensor) -> Tensor:
        self._check_decoder()
        return super().decode(ids)

    def _check_decoder(self) -> None:
        if self._decoder_is_random:
            raise UserError(
                'DALLETokenizer was loaded from weights of an encoder alone, so its codes and '
                "images would be random; set model.head.target='ids', or model.tokenizer.init_cfg "
                'to a checkpoint with encoder.* and decoder.*'
            )

    def check_channels(self, images: Tensor) -> None:
        channels = images.shape[1]
        if channels != self.in_channels:
            raise UserError(
                f'DALLETokenizer.in_channels={self.in_channels}, but the images have {channels} '
                "channels; OpenAI's weights are for red, green and blue alone: give the tokenizer "
                'three bands that stand for them, or train one of your own with '
                f'in_channels={channels}'
            )

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        # Runs before the children read the same dict, so that they find their names.
        rename_tensors(state_dict, prefix, {'blocks.': 'encoder.blocks.'})
        for name in [name for name in state_dict if name.startswith(prefix)]:
            for short, long in (('.w', '.weight'), ('.b', '.bias')):
                if name.endswith(short):
                    state_dict[name.removesuffix(short) + long] = state_dict.pop(name)
        encoder, decoder = (
            any(name.startswith(f'{prefix}{part}.') for name in state_dict)
            for part in ('encoder', 'decoder')
        )
        self._decoder_is_known |= decoder
        if encoder or decoder:
            self._decoder_is_random = not self._decoder_is_known
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _without_random_decoder(module: DALLETokenizer, state: dict, prefix: str, metadata) -> None:
    """Drop a random decoder from a state dict, so that no checkpoint and no digest has it."""
    if module._decoder_is_random:
        for name in [name for name in state if name.startswith(f'{prefix}decoder.')]:
            del state[name]
