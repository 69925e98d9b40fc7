from collections.abc import Mapping

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import FeatureExtractor, Tokenizer, UserError
from beit_mm.contracts.constructor import with_defaults
from beit_mm.models.layers.init import divide_by_depth
from beit_mm.registry import MODELS

TRAINING_ONLY = ('decoder.', 'decode_task_layer.')


@MODELS.register_module()
class VQKDTokenizer(Tokenizer):
    """The tokenizer of BEiT v2: vector-quantized knowledge distillation (arXiv 2208.06366, 3.1).

    A vision Transformer with absolute positions gives each patch a vector of ``code_dim``, whose
    nearest code by cosine is its token. A smaller Transformer reconstructs from the codes what a
    teacher says of the patches; there is no ``decode``, since pixels aren't reconstructed. The
    loss is

        mean(1 - cos(reconstruction, teacher)) + commitment_weight * mean((z - sg(code))^2)

    with unit vectors z (:class:`EMAVectorQuantizer`). Images are mapped to [-1, 1] inside.

    Without a teacher this is the frozen tokenizer of a pre-training: encoder and codebook alone
    are built, and the rest of a training's checkpoint is left out. The teacher is no submodule: it
    moves between devices with the tokenizer, but it is in neither ``parameters()`` nor the state
    dict, so that no optimizer and no checkpoint has it.

    The names in the state dict are those of the original, but for ``encoder.norm`` and
    ``decoder.norm`` (there ``fc_norm``) and ``codebook.{weight,initialized}`` (there
    ``quantize.embedding.{weight,initted}``).

    Args:
        arch, img_size, patch_size, in_channels: Of the encoder, a BEiTEncoder. ``patch_size`` is
            the tokenizer's stride.
        decoder_layers: Blocks of the decoder, which has the encoder's width and heads.
        teacher: Config of a :class:`~beit_mm.contracts.FeatureExtractor`; needed for training only.
        code_dim, commitment_weight, decay, kmeans_iters, reset_dead_codes: See
            :class:`EMAVectorQuantizer`.
    """

    has_codebook = True
    has_posterior = True
    renamed_tensors = {'codebook.initialised': 'codebook.initialized'}

    def __init__(
        self,
        vocab_size: int = 8192,
        code_dim: int = 32,
        arch: str | dict = 'base',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        decoder_layers: int = 3,
        teacher: dict | None = None,
        commitment_weight: float = 1.0,
        decay: float = 0.99,
        kmeans_iters: int = 10,
        reset_dead_codes: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, patch_size, data_preprocessor, init_cfg)
        self.in_channels = in_channels
        self.encoder = _vit(arch, img_size, patch_size, in_channels)
        dims = self.encoder.embed_dims
        self.encode_task_layer = _projection(dims, code_dim)
        self.codebook = MODELS.build(
            dict(
                type='beit_mm.EMAVectorQuantizer',
                vocab_size=vocab_size,
                code_dim=code_dim,
                commitment_weight=commitment_weight,
                decay=decay,
                kmeans_iters=kmeans_iters,
                reset_dead_codes=reset_dead_codes,
            )
        )
        # Not an attribute that nn.Module registers: see the docstring.
        self._teacher = () if teacher is None else (MODELS.build(teacher),)
        if self._teacher:
            arch = self.encoder.arch_settings[arch] if isinstance(arch, str) else arch
            arch = dict(arch, num_layers=decoder_layers)
            self.decoder = _vit(arch, self.encoder.grid, 1, code_dim)
            self.decode_task_layer = _projection(dims, self.teacher.dims)

    @classmethod
    def stride_of(cls, config: Mapping) -> int:
        return with_defaults(cls, config)['patch_size']

    @property
    def teacher(self) -> FeatureExtractor | None:
        return self._teacher[0] if self._teacher else None

    def encode(self, images: Tensor) -> Tensor:
        return self.codebook.encode(self.vectors(images))

    @classmethod
    def for_inference(cls, config: Mapping) -> dict:
        return {key: value for key, value in config.items() if key != 'teacher'}

    def posterior(self, images: Tensor) -> Tensor:
        """Return the softmax (B, h, w, V) of the cosines over a temperature of 0.1."""
        return self.codebook.posterior(self.vectors(images))

    def code_vectors(self) -> Tensor:
        """Return the codes (V, code_dim), of unit length."""
        return self.codebook.weight

    def vectors(self, images: Tensor) -> Tensor:
        """Return vectors (B, h, w, code_dim), not normalized, in the precision of the weights."""
        self.check_images(images)
        features = self.encoder(2 * images - 1)[0].permute(0, 2, 3, 1)  # (B, h, w, C)
        with torch.autocast(images.device.type, enabled=False):
            return self.encode_task_layer(features.to(self.encode_task_layer[0].weight.dtype))

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.teacher is None:
            raise UserError(
                'model.teacher is None, so VQKDTokenizer has nothing to learn from; set it to a '
                "dict such as dict(type='CLIPFeatures', model=...)"
            )
        codes, ids, losses = self.codebook(self.vectors(inputs))
        decoded = self.decoder(codes.permute(0, 3, 1, 2))[0].permute(0, 2, 3, 1)
        features = self.decode_task_layer(decoded)  # (B, h, w, dims of the teacher)
        target = self.teacher(inputs, grid=tuple(ids.shape[1:]))
        similarity = F.cosine_similarity(features.float(), target.float(), dim=-1)
        if self.training:
            self.latest_ids = ids
        return dict(loss_recon=(1 - similarity).mean(), **losses)

    def _apply(self, fn, *args, **kwargs):
        for teacher in self._teacher:  # .to(), .cuda(), .half()
            teacher._apply(fn, *args, **kwargs)
        return super()._apply(fn, *args, **kwargs)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        if not self._teacher:
            names = tuple(prefix + name for name in TRAINING_ONLY)
            for name in [name for name in state_dict if name.startswith(names)]:
                del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _vit(arch: str | dict, img_size, patch_size: int, in_channels: int) -> nn.Module:
    """Return a Transformer of VQ-KD, with weights drawn as the original code does."""
    vit = MODELS.build(
        dict(
            type='beit_mm.BEiTEncoder',
            arch=arch,
            img_size=img_size,
            patch_size=patch_size,
            in_channels=in_channels,
            abs_pos=True,
            rel_pos=None,
            layer_scale_init=None,
            final_norm=True,
            out_type='featmap',
        )
    )
    vit.mask_token = None  # a parameter that gets no gradient is an error in distributed training
    for module in vit.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
    for token in (vit.cls_token, vit.pos_embed):
        nn.init.trunc_normal_(token, std=0.02)
    vit.patch_embed['proj'].reset_parameters()
    divide_by_depth(vit.blocks)
    vit.is_init = True  # init_weights() would draw them again, as BEiT does
    return vit


def _projection(dims: int, out_dims: int) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(dims, dims), nn.Tanh(), nn.Linear(dims, out_dims))
    for linear in (layers[0], layers[2]):
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return layers
