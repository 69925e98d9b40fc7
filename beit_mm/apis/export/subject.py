import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.apis.export.sizes import Sizes
from beit_mm.apis.model import Model
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import find_transform
from beit_mm.contracts.positions import TABLE, patch_grid, resize_pos_embed, resize_table
from beit_mm.evaluation.layer_features import join_tokens, layer_output
from beit_mm.models import BEiTEncoder, MaskedPatchNeck, PatchAggregationNeck, VisualTokenHead

OF_HEADS = ('classes', 'palette', 'tokenizer', 'model')  # in a description
# What a network sees, and what another library gives it.
TURNED = dict(BGR='RGB', reversed='as loaded')


@dataclass
class Subject:
    """What is exported: a loaded model, adapted to what the target takes.

    Attributes:
        task: ``tokenizer``, ``pretraining``, ``classification``, ``segmentation`` or ``backbone``.
        module: In eval mode.
        mean, std: In units of the pixels, one for each channel.
        channel_order: What the network sees: ``RGB``, ``BGR``, ``as loaded`` or ``reversed``.
        white: Its value in the files, 255 for 8 bits; the width of a window.
        size: (H, W) in pixels; None of a tokenizer that takes any.
        loaded: The ``Model`` with these weights, before its channels were turned.
        notes: What the folder does not do, for its reader.
    """

    task: str
    module: nn.Module
    classes: list[str] | None
    palette: list | None
    mean: list[float]
    std: list[float]
    channel_order: str
    white: float
    in_channels: int
    size: tuple[int, int] | None
    patch_size: int | None
    description: Mapping
    loaded: Model
    is_half: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model) -> 'Subject':
        """Take what is exported of a loaded ``Model``, on the CPU and in full precision."""
        if model.device.type != 'cpu' or model.dtype is not None:
            module = copy.deepcopy(model.module)
            model = Model(module, model.description, model.transforms, source=model.source)
        channels, notes = model.in_channels or 3, []
        classes, outputs = model.classes, count_outputs(model.module)
        if classes is not None and outputs not in (None, 1, len(classes)):
            notes.append(
                f'The checkpoint names {len(classes)} classes, but the head has {outputs}: they '
                'have numbers instead.'
            )
            classes = None
        if model.mean is None or model.std is None:
            notes.append(
                'The checkpoint does not say how its images are normalized: pixels are taken as '
                'they are.'
            )
        return cls(
            task=model.task,
            module=model.module,
            classes=None if classes is None else [str(name) for name in classes],
            palette=None if classes is None else model.palette,
            mean=_for_each(model.mean or [0.0], channels),
            std=_for_each(model.std or [1.0], channels),
            channel_order=model.channel_order or 'as loaded',
            white=float(model.value_range[1]),
            in_channels=channels,
            size=model.size,
            patch_size=model.patch_size,
            description=model.description,
            loaded=model,
            notes=notes,
        )

    @property
    def encoder(self) -> nn.Module:
        return self.module if self.task == 'backbone' else self.module.backbone

    @property
    def state(self) -> dict[str, Tensor]:
        """Return the tensors under the names of our layout."""
        prefix = 'backbone.' * (self.task == 'backbone')
        return {prefix + name: tensor for name, tensor in self.module.state_dict().items()}

    @property
    def sizes(self) -> Sizes:
        return Sizes.read(self.state, self.encoder.num_heads, self.encoder.grid)

    @property
    def loader(self) -> Mapping:
        """Return the options of the loader of all bands; none of other loaders."""
        steps = self.description.get('preprocessing', {}).get('pipeline', [])
        return (find_transform(steps, 'LoadMultiBandImage') or (0, {}))[1]

    @property
    def window(self) -> tuple[float, float] | None:
        """Return the values of a file that are black and white, where they are clipped to these."""
        found = self.loader.get('window')
        return found and tuple(found)

    def as_backbone(self) -> 'Subject':
        """Return the encoder alone."""
        if self.task == 'tokenizer':
            raise UserError('A tokenizer has no backbone to export; leave --backbone out')
        description = {k: v for k, v in self.description.items() if k not in OF_HEADS}
        if 'architecture' in description:
            description['architecture'] = description['architecture']['backbone']
        return replace(
            self,
            task='backbone',
            module=self.encoder,
            classes=None,
            palette=None,
            description=dict(description, task='backbone'),
        )

    def in_size(self, size: Sequence[int]) -> 'Subject':
        """Return the model for images of another size (H, W), with positions made for it.

        They are those that the encoder interpolates when it sees such images.
        """
        patch = self.patch_size or 1
        if len(size) != 2 or any(side < 1 or side % patch for side in size):
            raise UserError(
                f'size={tuple(size)}: expected height and width, multiples of {patch} pixels, the '
                'size of a patch'
            )
        turned = replace(self, size=tuple(size))
        if self.task == 'tokenizer' or not isinstance(self.encoder, BEiTEncoder):
            return turned
        turned.module = copy.deepcopy(self.module)
        encoder, old = turned.encoder, self.encoder.grid
        new = patch_grid(size, patch, 'size')
        for name, tensor in encoder.named_parameters():
            if name.endswith(TABLE):
                tensor.data = resize_table(tensor.data, old, new, encoder.rel_pos_resize)
            elif name == 'pos_embed':
                tensor.data = resize_pos_embed(tensor.data, old, new)
        encoder.grid = encoder.positions.grid = new
        encoder.img_size = turned.size
        return turned

    def in_half(self) -> 'Subject':
        """Return a copy whose weights are rounded to float16, and computed with in float32."""
        if self.task == 'tokenizer':
            raise UserError('--half would change the ids of a tokenizer; leave it out')
        module = copy.deepcopy(self.module)
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())  # the state dict shares the memory of the module
                if not tensor.isfinite().all():
                    raise UserError(f'{name} is too large for float16; leave --half out')
        loaded = copy.copy(self.loaded)
        loaded.module = module
        return replace(self, module=module, loaded=loaded, is_half=True)

    def in_rgb(self) -> 'Subject':
        """Return a model that takes the channels in the order in which libraries load them.

        One that was trained with BGR gets the channels of its patch embedding reversed.
        """
        if self.channel_order not in TURNED:
            return self
        turned = replace(
            self,
            module=copy.deepcopy(self.module),
            mean=self.mean[::-1],
            std=self.std[::-1],
            channel_order=TURNED[self.channel_order],
        )
        with torch.no_grad():
            weight = turned.encoder.patch_embed['proj'].weight
            weight.copy_(weight.flip(1))
        return turned

    def embed(self, picture) -> Tensor:
        """Return the patch tokens (1, N, C) of the last layer that ``load_model`` gives."""
        features = self.loaded.embed(picture, pool='patches').features
        return torch.from_numpy(features).flatten(1, 2)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return what the network takes of pixels (B, C, H, W) in its own channel order."""
        shape = (1, -1, 1, 1)
        mean, std = torch.tensor(self.mean).view(shape), torch.tensor(self.std).view(shape)
        return (pixels - mean) / std

    @torch.no_grad()
    def compute(self, x: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return what the model computes of normalized images; ``mask`` is for logits alone.

        Returns:
            ``tokens`` (B, 1+N, C) of the last layer; ``logits`` of the task: (B, K) of a
            classifier, (B, K, h, w) of a segmentor, (B, N, V) of a pre-training. Else also
            ``pooled`` (B, C), the mean of the patches after the norm that belongs to it.
        """
        patches, first = layer_output(self.encoder, x)
        found = dict(tokens=join_tokens(patches, first))
        if self.task != 'segmentation':
            found['pooled'] = self._norm(patches.mean((1, 2)))
        if self.task in ('classification', 'segmentation'):
            found['logits'] = self.module(x, mode='tensor')
        elif self.task == 'pretraining' and predicts_tokens(self.module):
            where = torch.ones(patches.shape[:3], dtype=torch.bool)
            features = self.module.features(x, mask, where)
            main = features['main'] if isinstance(features, dict) else features
            found['logits'] = self.module.head.predict(main).unflatten(0, (len(x), -1))
        return found

    def _norm(self, mean: Tensor) -> Tensor:
        encoder, state = self.encoder, self.state
        if not isinstance(encoder, BEiTEncoder) or encoder.norm is not None:
            return mean
        norm = [state.get(f'neck.norm.{name}') for name in ('weight', 'bias')]
        return F.layer_norm(mean, mean.shape[-1:], *norm, encoder.blocks[0].norm1.eps)

    def layers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the tokens (B, 1+N, C) after each layer, before the encoder's last norm."""
        every = copy.copy(self.encoder)
        every._modules = {**every._modules, 'norm': None}
        return tuple(every.layer_outputs(x))


def check_encoder(subject: Subject, library: str) -> BEiTEncoder:
    """Return the encoder, or raise a UserError where ``library`` has none like it.

    What it does not do of the loading is noted.
    """
    if subject.task == 'tokenizer':
        raise UserError(
            f'{library} has no place for a tokenizer; export it with --to onnx or --to beit_mm'
        )
    encoder = subject.encoder
    if not isinstance(encoder, BEiTEncoder):
        raise UserError(
            f'The backbone is a {type(encoder).__name__}, but {library} has a BEiT alone; export '
            'the model with --to onnx or --to beit_mm'
        )
    if subject.window:
        low, high = subject.window
        subject.notes.append(
            f'{library} does not know the window of the training: give it '
            f'np.clip(array, {low:g}, {high:g}) - ({low:g}) of the values of a file.'
        )
    return encoder


def predicts_tokens(model: nn.Module) -> bool:
    """Return whether the pre-training is BEiT's: a norm of the patches, and a linear layer."""
    return isinstance(model.head, VisualTokenHead) and isinstance(
        model.neck, MaskedPatchNeck | PatchAggregationNeck
    )


def count_outputs(model: nn.Module) -> int | None:
    """Return the classes of a linear head or a decoder, None where there are none to count."""
    state = model.state_dict()
    found = (state.get(name) for name in ('head.fc.bias', 'decode_head.conv_seg.bias'))
    return next((len(bias) for bias in found if bias is not None), None)


def _for_each(values, channels: int) -> list[float]:
    values = [float(value) for value in values]
    return values * channels if len(values) == 1 else values
