"""Encoders of timm and transformers as models of this package, to be compared with its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmcv.transforms import LoadImageFromFile
from torch import Tensor, nn

from beit_mm.apis.model import Model
from beit_mm.contracts import Backbone, UserError
from beit_mm.contracts.packages import need
from beit_mm.datasets.transforms import TwoViewResizedCrop
from beit_mm.models.features.frozen_features import IMAGENET_MEAN, IMAGENET_STD, as_size

Layers = Iterator[tuple[Tensor, Tensor | None]]  # patches (B, N, C), other tokens before them


class OtherEncoder(Backbone):
    """Gives the tokens of each layer of another network; the last ones are after its last norm.

    The mean of the patches takes the place of a class token where there is none.

    Args:
        read: Called with network and images.
    """

    has_layers = True

    def __init__(self, network: nn.Module, patch_size: int, read: Callable[..., Layers]):
        super().__init__()
        self.network, self.patch_size, self.read = network, patch_size, read

    def forward(self, x: Tensor, mask: None = None) -> tuple[Tensor, ...]:
        return ([*self.layer_outputs(x)][-1],)

    def layer_outputs(self, x: Tensor) -> Iterator[Tensor]:
        for patches, others in self.read(self.network, x):
            has_class = others is not None and others.shape[1]
            first = others[:, :1] if has_class else patches.mean(1, keepdim=True)
            yield torch.cat([first, patches], 1)


def read_timm(network: nn.Module, x: Tensor) -> Layers:
    has_class = 'cls_token' in dict(network.named_parameters())
    options = dict(return_prefix_tokens=True) if has_class else {}
    last, layers = network.forward_intermediates(x, **options)
    layers = [layer if has_class else (layer, None) for layer in layers]
    yield from ((flat(patches), others) for patches, others in layers[:-1])
    number = flat(layers[-1][0]).shape[1]
    yield flat(last)[:, -number:], flat(last)[:, :-number]


def read_huggingface(network: nn.Module, x: Tensor) -> Layers:
    side = network.config.patch_size
    found = network(pixel_values=x, output_hidden_states=True)
    for layer in (*found.hidden_states[1:-1], found.last_hidden_state):
        is_map = layer.ndim == 4
        number = flat(layer).shape[1] if is_map else (x.shape[2] // side) * (x.shape[3] // side)
        yield flat(layer)[:, -number:], flat(layer)[:, :-number]


def flat(features: Tensor) -> Tensor:
    """Return feature maps (B, C, h, w) as tokens (B, N, C), and tokens as they are."""
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features


def load_other(name: str, device: str = 'cpu') -> Model:
    """Load an encoder of timm or transformers that is on this disk, or one of random weights.

    Args:
        name: ``timm:NAME`` for random weights, ``timm:NAME=FILE`` for those of a file;
            ``hf:MODEL_TYPE`` for random weights, such as ``hf:vit``, ``hf:FOLDER`` for a model in a
            folder. Nothing is downloaded.

    Raises:
        UserError: There is no such model.
        MissingPackageError: The library is not installed.
    """
    kind, _, rest = name.partition(':')
    try:
        encoder, size, mean, std = KINDS[kind](rest)
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise UserError(f'{name} cannot be built: {error}') from error
    description = dict(
        task='backbone',
        images=dict(mean=[255 * v for v in mean], std=[255 * v for v in std], channel_order='RGB'),
        preprocessing=dict(channels=3, size=size),
        backbone=dict(patch_size=encoder.patch_size),
    )
    crop = TwoViewResizedCrop(size=size, scale=None, ratio=(size[1] / size[0],) * 2)
    return Model(encoder, description, [LoadImageFromFile(), crop], device, source=name)


def _timm(name: str) -> tuple:
    name, _, file = name.partition('=')
    network = need('timm', name).create_model(name, num_classes=0, checkpoint_path=file)
    own = network.pretrained_cfg
    patches = dict(network.named_children()).get('patch_embed')
    patch_size = patches.patch_size[0] if patches is not None else 1
    encoder = OtherEncoder(network, patch_size, read_timm)
    return encoder, tuple(own['input_size'][1:]), own['mean'], own['std']


def _huggingface(name: str) -> tuple:
    transformers, mean, std = need('transformers', name), IMAGENET_MEAN, IMAGENET_STD
    if Path(name).is_dir():
        network = transformers.AutoModel.from_pretrained(name, local_files_only=True)
    else:
        network = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(name))
    if (Path(name) / 'preprocessor_config.json').is_file():
        images = transformers.AutoImageProcessor.from_pretrained(name, local_files_only=True)
        mean, std = images.image_mean, images.image_std
    encoder = OtherEncoder(network, network.config.patch_size, read_huggingface)
    return encoder, as_size(network.config.image_size), mean, std


KINDS = dict(timm=_timm, hf=_huggingface)
