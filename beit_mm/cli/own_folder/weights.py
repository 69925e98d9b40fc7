"""What weights on disk are: the encoder and the tokenizer that a chain begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from beit_mm.apis.allowed_types import MODEL_TYPES
from beit_mm.apis.build_model import checked
from beit_mm.apis.export.sizes import Sizes
from beit_mm.apis.foreign_folder import read_json
from beit_mm.checkpoints import read_checkpoint, read_description, unwrap
from beit_mm.checkpoints.find_checkpoint import find_checkpoint
from beit_mm.checkpoints.loaders import in_our_layout
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import find_transform
from beit_mm.registry import MODELS


@dataclass
class FrozenTokenizer:
    """A trained tokenizer: its config with its weights, and what other parts have to know.

    Attributes:
        scale, window: Of the images that it was trained on, if these were not of 8 bits: the value
            that was its 1, and the window of their loader.
    """

    path: str
    config: dict
    stride: int
    vocab_size: int
    scale: float | None = None
    window: Sequence[float] | None = None


def tokenizer_of(source: str, channels: int) -> FrozenTokenizer:
    """Return the tokenizer in a work dir or file: one of this package, DALL-E's or VQ-KD.

    Args:
        channels: Of the images.

    Raises:
        UserError: It is another model, or reads other channels.
    """
    path = str(find_checkpoint(source).resolve())
    description = read_description(path) or {}
    config = description.get('architecture') if description.get('task') == 'tokenizer' else None
    if config is None:
        config = _published(unwrap(in_our_layout(read_checkpoint(path), path))[0])
    if config is None:
        raise UserError(
            f"--tokenizer {source}: expected a tokenizer of this package, DALL-E's encoder or the "
            f'VQ-KD of BEiT v2; found {description.get("task") or "a file of another layout"}'
        )
    config = dict(checked(config, MODEL_TYPES, (), path))
    config.pop('data_preprocessor', None)
    with torch.device('meta'):
        target = MODELS.build(dict(config))
    if target.vocab_size is None or target.in_channels not in (None, channels):
        raise UserError(
            f'--tokenizer {source}: {type(target).__name__} has {target.vocab_size} tokens of '
            f'{target.in_channels} channels, expected some of {channels}, as the images have'
        )
    config['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    found = FrozenTokenizer(source, config, target.stride, target.vocab_size)
    pipeline = description.get('preprocessing', {}).get('pipeline', [])
    loader, seen = find_transform(pipeline, 'LoadMultiBandImage'), description.get('images') or {}
    if loader is not None and seen.get('mean') == [0.0] and len(seen['std']) == 1:
        found.scale, found.window = seen['std'][0], loader[1].get('window')
    return found


def _published(weights: Mapping[str, Tensor]) -> dict | None:
    """Return the config of a tokenizer that does not say it, None if it is none of BEiT's."""
    codes = weights.get('codebook.weight')
    if codes is not None and 'encode_task_layer.0.weight' in weights:
        return dict(type='beit_mm.VQKDTokenizer', vocab_size=len(codes), code_dim=codes.shape[1])
    for name in ('blocks.output.conv.w', 'blocks.output.conv.weight'):
        for prefix in ('', 'encoder.'):
            if f'{prefix}{name}' in weights:
                size = len(weights[f'{prefix}{name}'])
                return dict(type='beit_mm.DALLETokenizer', vocab_size=size)
    return None


def architecture_of(path: str) -> tuple[dict, str, int]:
    """Return arguments, prefix and patch size of the encoder in a file of any known layout."""
    weights = unwrap(in_our_layout(read_checkpoint(path), path))[0]
    prefix = 'backbone.' if any(name.startswith('backbone.') for name in weights) else ''
    kernel = weights.get(f'{prefix}patch_embed.proj.weight')
    if kernel is None:
        raise UserError(f'--init {path}: it has no encoder of a layout that is known')
    patch = kernel.shape[-1]
    if patch not in (8, 16):
        raise UserError(
            f'--init {path}: its patches have {patch} pixels; the configs of a chain have 8 or 16'
        )
    size = (read_description(path) or {}).get('backbone', {}).get('img_size')
    grid = size and (size[0] // patch, size[1] // patch)
    state = {f'backbone.{name.removeprefix(prefix)}': tensor for name, tensor in weights.items()}
    try:
        sizes = Sizes.read(state, find_heads(path), grid)
    except UserError as error:
        raise UserError(f'--init {path}: {error}') from error
    others = ('final_norm', *sizes.images)  # of a chain's own
    found = {name: value for name, value in sizes.backbone.items() if name not in others}
    return found, prefix, patch


def find_heads(path: str) -> int | None:
    """Return the attention heads that a config.json in the folder says, if it says them."""
    place = Path(path).expanduser()
    file = (place if place.is_dir() else place.parent) / 'config.json'
    return (read_json(file) or {}).get('num_attention_heads')
