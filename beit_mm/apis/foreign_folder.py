"""BEiT in a folder of transformers or timm, described as checkpoints of this package are."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from beit_mm.apis.export.sizes import POSITIONS, Sizes
from beit_mm.checkpoints.description.stored import FORMAT
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import is_number
from beit_mm.models.features.frozen_features import IMAGENET_MEAN, IMAGENET_STD, as_size

CONFIG, IMAGES = 'config.json', 'preprocessor_config.json'
# Of transformers' BeitConfig and BeitImageProcessor, and of timm, for what a file leaves out.
BEIT = dict(image_size=224, num_attention_heads=12, layer_norm_eps=1e-12)
PROCESSOR = dict(
    size=224,
    crop_size=224,
    resample=3,
    do_resize=True,
    do_center_crop=False,
    do_rescale=True,
    do_normalize=True,
    rescale_factor=1 / 255,
    image_mean=[0.5] * 3,
    image_std=[0.5] * 3,
)
TIMM = dict(
    input_size=[3, 224, 224],
    crop_pct=0.875,
    crop_mode='center',
    interpolation='bicubic',
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
TIMM_EPS = 1e-6
RESAMPLE = ('nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming')


class Facts(NamedTuple):
    """What the files say and the tensors do not.

    Attributes:
        grid: Patches (h, w); None for those of the positions of a square image.
        heads: Of the attention.
        classes: Names, or numbers and names; None without any.
        mean, std: For images in [0, 1].
        steps: Transforms after the loading.
        white: Pixel value of white.
    """

    grid: tuple[int, int] | None
    heads: int | None
    norm_eps: float
    classes: Any
    mean: Sequence[float]
    std: Sequence[float]
    steps: list[dict]
    white: float = 255


def describe_folder(folder: Path, weights: dict[str, Tensor]) -> dict[str, Any] | None:
    """Return the description of a BEiT whose config.json is that of transformers or timm.

    Encoder and classifier are read. Of a pre-training and a segmentation only the encoder is, and
    the log says so.

    Args:
        weights: In our layout. A mask embedding of zeros is added if there is none.

    Returns:
        None if the folder has no such config.json.

    Raises:
        UserError: A file cannot be read, or it is a model or a resizing that this package lacks.
    """
    config = read_json(folder / CONFIG) or {}
    is_known = {'model_type', 'architecture'} & set(config)
    if not is_known or not any(name.startswith('backbone.') for name in weights):
        return None
    file = folder / CONFIG
    try:
        if 'model_type' in config:
            _check_huggingface(config)
            config = BEIT | _given(config)
            grid = _grid(config['image_size'], weights)
            images, file = read_json(folder / IMAGES), folder / IMAGES
            if images is None:
                images = dict(size=config['image_size'])
            facts = _huggingface(config, PROCESSOR | _given(images), grid, weights)
        else:
            facts = _timm(config, weights)
        _check_images(facts, weights)
    except UserError as error:
        raise UserError(f'{file}: {error}') from error
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise UserError(f'{file} cannot be understood ({error!r}); is it as saved?') from error
    sizes = Sizes.read(weights, facts.heads, facts.grid)
    weights.setdefault('backbone.mask_token', torch.zeros(1, 1, sizes.dims))
    return _describe(facts, sizes, weights, folder)


def _check_huggingface(config: Mapping) -> None:
    if config['model_type'] != 'beit':
        raise UserError(
            f'model_type={config["model_type"]!r}; load_model reads BEiT alone '
            "(model_type='beit'). To compare encoders of other models: beit-mm probe hf:FOLDER"
        )
    if config.get('hidden_act', 'gelu') != 'gelu':
        raise UserError(f"hidden_act={config['hidden_act']!r}; expected 'gelu'")


def _huggingface(config: Mapping, images: Mapping, grid: tuple, weights: Mapping) -> Facts:
    factor = _positive('rescale_factor', images['rescale_factor'])
    mean, std, white = images['image_mean'], images['image_std'], 1 / factor
    if not images['do_normalize']:
        mean, std = [0.0] * len(mean), [1.0] * len(std)
    if not images['do_rescale']:  # they are for the values of the files
        mean, std, white = [v / 255 for v in mean], [v / 255 for v in std], 255
    steps = []
    if images['do_resize']:
        size, interpolation = images['size'], RESAMPLE[images['resample']]
        edge = size.get('shortest_edge') if isinstance(size, Mapping) else None
        steps.append(_resize(_height_width(size) if edge is None else edge, interpolation))
    if images['do_center_crop']:
        steps.append(_center_crop(_height_width(images['crop_size'])))
    # transformers takes positions for those of a square, whatever image_size says
    has_positions = any(name.endswith(POSITIONS) for name in weights)
    return Facts(
        grid=None if has_positions else grid,
        heads=int(_positive('num_attention_heads', config['num_attention_heads'])),
        norm_eps=_positive('layer_norm_eps', config['layer_norm_eps']),
        classes=config.get('id2label'),
        mean=mean,
        std=std,
        steps=steps,
        white=round(white) if abs(white - round(white)) < 1e-3 else white,  # 1/255 in float32
    )


def _timm(config: Mapping, weights: Mapping) -> Facts:
    if not str(config['architecture']).startswith('beit'):
        raise UserError(
            f'architecture={config["architecture"]!r}; load_model reads BEiT alone. To compare '
            'encoders of other models: beit-mm probe timm:NAME=FILE'
        )
    arguments = config.get('model_args') or {}
    for name in ('swiglu_mlp', 'scale_mlp'):
        if arguments.get(name):
            raise UserError(f'model_args.{name}=True, which the BEiT of this package lacks')
    pool = arguments.get('global_pool', config.get('global_pool', 'avg'))
    if 'head.fc.weight' in weights and 'neck.norm.weight' in weights and pool != 'avg':
        raise UserError(f"global_pool={pool!r} before fc_norm; expected 'avg'")
    images = TIMM | _given(config.get('pretrained_cfg') or config)
    size, share = [*images['input_size']][1:], _positive('crop_pct', images['crop_pct'])
    mode = images['crop_mode']
    if mode == 'squash':
        resize: int | list[int] = [int(side / share) for side in size]
    elif mode == 'center' and size[0] == size[1]:
        resize = int(size[0] / share)
    else:
        raise UserError(
            f"crop_mode={mode!r} for images of {size[0]} x {size[1]}; expected 'squash', or "
            "'center' for square ones"
        )
    return Facts(
        grid=_grid(arguments.get('img_size', size), weights),
        heads=arguments.get('num_heads'),
        norm_eps=TIMM_EPS,
        classes=config.get('label_names') or images.get('label_names'),
        mean=images['mean'],
        std=images['std'],
        steps=[_resize(resize, images['interpolation']), _center_crop(size)],
    )


def _describe(facts: Facts, sizes: Sizes, weights: Mapping[str, Tensor], folder: Path) -> dict:
    mean, std = ([value * facts.white for value in values] for values in (facts.mean, facts.std))
    is_rgb = sizes.channels == 3 and facts.white == 255
    backbone = sizes.backbone | dict(type='beit_mm.BEiTEncoder', norm_eps=facts.norm_eps)
    is_classifier = sizes.classes > 0 and 'neck.norm.weight' in weights
    architecture: dict[str, Any] = backbone
    if is_classifier:
        architecture = dict(
            type='mmpretrain.ImageClassifier',
            backbone=backbone,
            neck=dict(type='beit_mm.PatchMeanNeck', dims=sizes.dims, norm_eps=facts.norm_eps),
            head=dict(
                type='mmpretrain.LinearClsHead', num_classes=sizes.classes, in_channels=sizes.dims
            ),
            data_preprocessor=dict(
                type='mmpretrain.ClsDataPreprocessor', mean=mean, std=std, to_rgb=is_rgb
            ),
        )
    else:
        print_log(f'{folder}: took the encoder alone', logger='current')
    loader = dict(type='LoadImageFromFile')
    if not is_rgb:
        loader = dict(type='beit_mm.LoadMultiBandImage', channels=sizes.channels)
    classes = _class_names(facts.classes, sizes.classes) if is_classifier else None
    return dict(
        format=FORMAT,
        task='classification' if is_classifier else 'backbone',
        architecture=architecture,
        images=dict(mean=mean, std=std, channel_order='RGB' if is_rgb else 'as loaded'),
        backbone=dict(patch_size=sizes.patch, img_size=[*sizes.image], in_channels=sizes.channels),
        preprocessing=dict(
            channels=sizes.channels,
            size=[*sizes.image],
            range=[0, facts.white],
            pipeline=[loader, *facts.steps],
        ),
        **(dict(classes=classes) if classes else {}),
    )


def _class_names(found: Any, number: int) -> list[str] | None:
    """Return the names of ``number`` classes; None where they are not said."""
    if isinstance(found, Mapping) and all(str(key).isdecimal() for key in found):
        if all(name == f'LABEL_{key}' for key, name in found.items()):
            return None  # what transformers writes without names
        found = [name for _, name in sorted((int(key), name) for key, name in found.items())]
    is_list = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return found if is_list and len(found) == number else None


def _check_images(facts: Facts, weights: Mapping[str, Tensor]) -> None:
    channels = weights['backbone.patch_embed.proj.weight'].shape[1]
    for name, values in (('mean', facts.mean), ('std', facts.std)):
        is_list = isinstance(values, list | tuple) and len(values) in (1, channels)
        if not is_list or not all(is_number(v) and math.isfinite(v) for v in values):
            raise UserError(f'{name}={values!r}; expected a number for each of {channels} channels')
    if min(facts.std) <= 0:
        raise UserError(f'std={facts.std!r}; expected positive numbers')


def _grid(size: Any, weights: Mapping[str, Tensor]) -> tuple[int, int]:
    patch = weights['backbone.patch_embed.proj.weight'].shape[-1]
    height, width = (_positive('image size', side) for side in as_size(size))
    return int(height) // patch, int(width) // patch


def _resize(size: int | list[int], interpolation: str) -> dict:
    """Return the config of a resize to (H, W), or of the shorter edge to a number."""
    options = dict(type='Resize', backend='pillow', interpolation=interpolation)
    if isinstance(size, list):
        return dict(options, scale=[size[1], size[0]], keep_ratio=False)
    size = int(_positive('size', size))
    return dict(options, type='mmpretrain.ResizeEdge', scale=size, edge='short')


def _center_crop(size: list[int]) -> dict:
    return dict(type='CenterCrop', crop_size=[size[1], size[0]])


def _height_width(size: Any) -> list[int]:
    pair = (size['height'], size['width']) if isinstance(size, Mapping) else as_size(size)
    return [int(_positive('size', side)) for side in pair]


def _given(values: Mapping) -> dict:
    """Return the values that are not null, which stands for the default."""
    return {name: value for name, value in values.items() if value is not None}


def _positive(name: str, value: Any) -> float:
    if not is_number(value) or not math.isfinite(value) or value <= 0:
        raise UserError(f'{name}={value!r}; expected a positive number')
    return value


def read_json(path: Path) -> Mapping | None:
    """Return the values in a JSON file; None without a file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f'{path} is no JSON file: {error}') from error
    if not isinstance(found, Mapping):
        raise UserError(f'{path} holds a {type(found).__name__}; expected the values of a model')
    return found
