import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.layers.code_usage import CodeUsage
from beit_mm.models.quantizers.dead_code_reset import DeadCodeReset
from beit_mm.models.quantizers.ema_codebook import EMACodebook
from beit_mm.models.tokenizers.base_tokenizer import BaseTokenizer
from beit_mm.registry import MODELS

TRAINING_ONLY = ('decoder.', 'decode_task_layer.')


@MODELS.register_module()
class VQKDTokenizer(BaseTokenizer):
    """The tokenizer of BEiT v2: vector-quantized knowledge distillation (arXiv 2208.06366, 3.1).

    A vision Transformer with absolute positions gives each patch a vector of ``code_dim``, whose
    nearest code by cosine is its token. A smaller Transformer reconstructs from the codes what a
    teacher says of the patches; pixels aren't reconstructed, so there is no ``decode``. The loss is

        mean(1 - cos(reconstruction, teacher)) + beta * mean((z - sg(code))^2)

    with unit vectors z; the gradient goes straight through the codes, which follow by moving
    averages (:class:`EMACodebook`). The pixel mapping x -> 2x - 1 is inside.

    Without a teacher this is the frozen tokenizer of a pre-training: encoder and codebook alone
    are built, and what else a checkpoint of the training has is passed over. The teacher itself
    is no submodule: it moves between devices with the tokenizer, but it is in neither
    ``parameters()`` nor the state dict, so that no optimizer and no checkpoint has it.

    The names in the state dict are those of the original, but for ``encoder.norm`` and
    ``decoder.norm`` (there ``fc_norm``) and ``codebook.{weight,initialized}`` (there
    ``quantize.embedding.{weight,initted}``).

    Args:
        code_dim: Size of the codes.
        arch, img_size, patch_size, in_channels: Of the encoder, a BEiTEncoder. ``patch_size`` is
            the tokenizer's stride.
        decoder_layers: Blocks of the decoder, which has the encoder's width and heads.
        teacher: Config of a teacher: ``forward(images in [0, 1], grid) -> (B, N, dims)`` and
            ``dims``. Needed for training only.
        beta: Weight of the commitment loss.
        decay, kmeans_iters: Of the codebook.
        reset_dead_codes: See VQVAETokenizer; None, as in the paper, lets unused codes be.
        usage_window: ``codes_used`` and ``perplexity`` describe the tokens of this many latest
            training steps (of all processes).
    """

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
        beta: float = 1.0,
        decay: float = 0.99,
        kmeans_iters: int = 10,
        reset_dead_codes: dict | None = None,
        usage_window: int = 50,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, patch_size, data_preprocessor, init_cfg)
        self.in_channels = in_channels
        self.beta = beta
        self.encoder = _vit(arch, img_size, patch_size, in_channels)
        dims = self.encoder.embed_dims
        self.encode_task_layer = _projection(dims, code_dim)
        self.codebook = EMACodebook(vocab_size, code_dim, decay, kmeans_iters)
        self.reset_dead_codes = (
            None
            if reset_dead_codes is None
            else DeadCodeReset(reset_dead_codes, type(self).__name__)
        )
        # Not an attribute that nn.Module registers: see the docstring.
        self._teacher = () if teacher is None else (MODELS.build(teacher),)
        if self._teacher:
            arch = self.encoder.arch_settings[arch] if isinstance(arch, str) else arch
            arch = dict(arch, num_layers=decoder_layers)
            self.decoder = _vit(arch, self.encoder.grid, 1, code_dim)
            self.decode_task_layer = _projection(dims, self.teacher.dims)
            self.usage = CodeUsage(vocab_size, usage_window)

    @property
    def teacher(self) -> nn.Module | None:
        return self._teacher[0] if self._teacher else None

    def encode(self, images: Tensor) -> Tensor:
        return self.codebook.encode(self.vectors(images))

    def posterior(self, images: Tensor, temperature: float = 0.1) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, h, w, V): softmax of the cosines over ``temperature``."""
        return self.codebook.posterior(self.vectors(images), temperature)

    def code_vectors(self) -> Tensor:
        """(vocab_size, code_dim), of unit length."""
        return self.codebook.weight

    def vectors(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, h, w, code_dim), before normalization; as the weights."""
        self.check_divisible(images)
        self.check_channels(images)
        self.check_range(images)
        features = self.encoder(2 * images - 1)[0].permute(0, 2, 3, 1)  # (B, h, w, C)
        with torch.autocast(images.device.type, enabled=False):
            return self.encode_task_layer(features.to(self.encode_task_layer[0].weight.dtype))

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.teacher is None:
            raise ValueError(
                'model.teacher is None, so VQKDTokenizer has nothing to learn from; set it to a '
                "dict such as dict(type='CLIPFeatures', model=...)"
            )
        z = self.vectors(inputs)
        if self.training and self.reset_dead_codes:
            self.reset_dead_codes.replace_dead(self.codebook, self.usage, z.detach())
        codes, ids, commitment = self.codebook(z)
        decoded = self.decoder(codes.permute(0, 3, 1, 2))[0].flatten(2).transpose(1, 2)
        features = self.decode_task_layer(decoded)  # (B, N, dims of the teacher)
        target = self.teacher(inputs, grid=tuple(ids.shape[1:]))
        similarity = F.cosine_similarity(features.float(), target.float(), dim=-1)
        return dict(
            loss_recon=(1 - similarity).mean(),
            loss_commit=self.beta * commitment,
            **self.usage(ids),
        )

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
    """A Transformer of the original's VQ-KD, with its own way to draw the weights."""
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
    with torch.no_grad():
        for layer, block in enumerate(vit.blocks, start=1):
            block.attn.proj.weight /= (2 * layer) ** 0.5
            block.mlp.fc2.weight /= (2 * layer) ** 0.5
    vit.is_init = True  # init_weights() would draw them again, as BEiT does
    return vit


def _projection(dims: int, out_dims: int) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(dims, dims), nn.Tanh(), nn.Linear(dims, out_dims))
    for linear in (layers[0], layers[2]):
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return layers
