import math
from collections.abc import Mapping

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Quantizer, Tokenizer, UserError
from beit_mm.contracts.config_walk import class_name
from beit_mm.models.layers.init import standardize_output_
from beit_mm.registry import MODELS

RECON_LOSSES = dict(mse='MSEReconLoss', l1='L1ReconLoss', smooth_l1='SmoothL1ReconLoss')


@MODELS.register_module()
class AutoencoderTokenizer(Tokenizer):
    """An encoder, a quantizer and a decoder, which learn to reconstruct images from tokens.

    The quantizer says how many channels it takes and gives; encoder and decoder are told, so that
    their configs hold sizes of their own alone::

        dict(type='AutoencoderTokenizer',
             encoder=dict(type='ConvEncoder', width=128),
             quantizer=dict(type='EMAVectorQuantizer', vocab_size=256, code_dim=16),
             decoder=dict(type='ConvDecoder', width=128))

    Values are quantized in float32 whatever autocast says.

    Args:
        encoder, decoder: See ``models/autoencoders``; configs or modules.
        quantizer: A :class:`~beit_mm.contracts.Quantizer`; a config or a module.
        recon_loss: ``mse``, ``l1``, ``smooth_l1``, or the config of a loss of ``models/losses``,
            which also says what the decoder's maps mean.
        data_init: Standardize each channel that is quantized to this standard deviation with the
            first training batch (of all processes), so that vectors are spread over the codes and
            every logit has an equal chance. None keeps the random start.
        pixel_range: Images in [0, 1] are mapped to it for the encoder.
    """

    can_decode = True
    has_codebook = True
    renamed_tensors = dict(initialised='initialized')

    def __init__(
        self,
        encoder: dict | nn.Module,
        quantizer: dict | Quantizer,
        decoder: dict | nn.Module,
        in_channels: int = 3,
        stride: int = 8,
        recon_loss: str | dict | nn.Module = 'mse',
        data_init: float | None = 1.0,
        pixel_range: tuple[float, float] = (-1.0, 1.0),
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        name = type(self).__name__
        quantizer = _build(quantizer)
        super().__init__(quantizer.vocab_size, stride, data_preprocessor, init_cfg)
        if data_init is not None and not 0 < data_init < math.inf:
            raise UserError(f'{name}.data_init={data_init}: expected a positive number, or None')
        self.in_channels = in_channels
        self.recon_loss = build_recon_loss(recon_loss, name)
        self.data_init = data_init
        self.pixel_range = pixel_range
        maps = in_channels * self.recon_loss.maps_per_channel
        self.quantizer = quantizer
        sizes = dict(in_channels=in_channels, out_channels=quantizer.in_dims, stride=stride)
        self.encoder = _build(encoder, **sizes)
        sizes = dict(in_channels=quantizer.code_dim, out_channels=maps, stride=stride)
        self.decoder = _build(decoder, **sizes)
        if data_init is not None:
            self.register_buffer('initialized', torch.tensor(False))

    @classmethod
    def vocab_size_of(cls, config: Mapping) -> int | None:
        if 'quantizer' not in config:
            return super().vocab_size_of(config)
        with torch.random.fork_rng([]):  # of the CPU: the same weights follow whoever asks
            return _build(config['quantizer']).vocab_size

    @classmethod
    def for_inference(cls, config: Mapping) -> Mapping:
        """Return ``config`` with the pixel loss that says what the maps mean, and no other."""
        loss = config.get('recon_loss')
        while class_name(loss) == 'PerceptualReconLoss':
            loss = loss.get('pixel_loss') or dict(type='beit_mm.L1ReconLoss')
        return config if loss is None else dict(config, recon_loss=loss)

    @property
    def has_posterior(self) -> bool:
        return self.quantizer.has_posterior

    def vectors(self, images: Tensor) -> Tensor:
        """Return what is quantized, (B, h, w, in_dims) in float32, of images in [0, 1]."""
        return self.encoder(self.pixels(images)).float().permute(0, 2, 3, 1)

    def pixels(self, images: Tensor) -> Tensor:
        """Return what the encoder reads of images in [0, 1]."""
        self.check_images(images)
        low, high = self.pixel_range
        return (high - low) * images + low

    def encode(self, images: Tensor) -> Tensor:
        return self.quantizer.encode(self.vectors(images))

    def posterior(self, images: Tensor) -> Tensor:
        if not self.has_posterior:
            return super().posterior(images)
        return self.quantizer.posterior(self.vectors(images))

    def decode(self, ids: Tensor) -> Tensor:
        return self.recon_loss.image(self.draw(self.quantizer.lookup(ids)))

    def code_vectors(self) -> Tensor:
        """Return the codes (V, code_dim); near ones draw alike."""
        ids = torch.arange(self.vocab_size, device=next(self.encoder.parameters()).device)
        return self.quantizer.lookup(ids)

    def draw(self, codes: Tensor) -> Tensor:
        """Return the decoder's maps (B, M, H, W) of codes (B, h, w, code_dim)."""
        weight = next(self.decoder.parameters(), codes)
        return self.decoder(codes.to(weight.dtype).permute(0, 3, 1, 2))

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.training:
            self._standardize(inputs)
            self.quantizer.start_step(self.quantized_rows())
        z = self.vectors(inputs)  # (B, h, w, in_dims)
        with torch.autocast(z.device.type, enabled=False):
            codes, ids, losses = self.quantizer(z)
        maps = self.draw(codes).float()
        if self.training:
            self.latest_ids = ids.detach()
        return dict(loss_recon=self.recon_loss(maps, inputs), **losses)

    def last_conv(self) -> nn.Conv2d | None:
        """Return the convolution with bias that makes the channels to quantize, None without."""
        convs = [part for part in self.encoder.modules() if isinstance(part, nn.Conv2d)]
        last = convs[-1] if convs else None
        is_output = last is not None and last.out_channels == self.quantizer.in_dims
        return last if is_output and last.bias is not None else None

    def quantized_rows(self) -> list[Tensor]:
        """Return the parameters with a row for each channel that is quantized."""
        conv = self.last_conv()
        return [] if conv is None else [conv.weight, conv.bias]

    @torch.no_grad()
    def _standardize(self, images: Tensor) -> None:
        if self.data_init is None or self.initialized:
            return
        conv = self.last_conv()
        if conv is None:
            raise UserError(
                f'{type(self).__name__}.data_init={self.data_init}: '
                f'{type(self.encoder).__name__} does not end in a convolution with bias; set '
                'data_init=None, and let the encoder start with outputs of variance 1'
            )
        standardize_output_(conv, self.vectors(images).permute(0, 3, 1, 2), self.data_init)
        self.initialized.fill_(True)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        names = f'{prefix}initialized', f'{prefix}initialised'
        if self.data_init is None:
            for name in names:
                state_dict.pop(name, None)
        elif not any(name in state_dict for name in names):  # what was trained has its spread
            if any(name.startswith(f'{prefix}encoder.') for name in state_dict):
                state_dict[names[0]] = torch.tensor(True)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def build_recon_loss(config: str | dict | nn.Module, owner: str) -> nn.Module:
    """Return the loss of a short name or of a config."""
    if not isinstance(config, str):
        return _build(config)
    if config not in RECON_LOSSES:
        raise UserError(
            f'{owner}.recon_loss={config!r}: expected one of {list(RECON_LOSSES)}, or the config '
            "of a loss such as dict(type='LogitLaplaceReconLoss')"
        )
    return MODELS.build(dict(type=f'beit_mm.{RECON_LOSSES[config]}'))


def _build(part: dict | nn.Module, **sizes: int) -> nn.Module:
    return part if isinstance(part, nn.Module) else MODELS.build({**sizes, **part})
