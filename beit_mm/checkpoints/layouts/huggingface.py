"""Hugging Face transformers: ``BeitModel``, ``BeitForMaskedImageModeling``,
``BeitForImageClassification``, and the backbone of ``BeitForSemanticSegmentation``.

Two generations of names: the files on the hub and what ``save_pretrained`` writes
(``beit.encoder.layer.0.attention.attention.query``), and the modules of version 5
(``beit.layers.0.attention.q_proj``). Both are read; the former is written, since every version
loads it. q, k and v are three matrices; the key has no bias.
"""

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.rules import (
    DROP_INDEX,
    SHARED,
    TOKENIZER,
    Drop,
    Rules,
    convert,
    note_pooling,
    without_pretraining,
)
from beit_mm.contracts.errors import UserError
from beit_mm.contracts.positions import TABLE, Grid

NAME = 'huggingface'
QKV = ('query', 'key', 'value')
# theirs of version 5 -> theirs of the hub, for one layer
MODULES = (
    (r'attention\.q_proj\.', 'attention.attention.query.'),
    (r'attention\.k_proj\.', 'attention.attention.key.'),
    (r'attention\.v_proj\.', 'attention.attention.value.'),
    (r'attention\.o_proj\.', 'attention.output.dense.'),
    (r'mlp\.fc1\.', 'intermediate.dense.'),
    (r'mlp\.fc2\.', 'output.dense.'),
    (rf'^relative_position_bias\.{TABLE}', f'attention.attention.relative_position_bias.{TABLE}'),
)
# theirs of the hub -> ours, for one layer
LAYER = {
    'layernorm_before.weight': 'norm1.weight',
    'layernorm_before.bias': 'norm1.bias',
    'layernorm_after.weight': 'norm2.weight',
    'layernorm_after.bias': 'norm2.bias',
    'attention.attention.query.bias': 'attn.q_bias',
    'attention.attention.value.bias': 'attn.v_bias',
    'attention.output.dense.weight': 'attn.proj.weight',
    'attention.output.dense.bias': 'attn.proj.bias',
    'intermediate.dense.weight': 'mlp.fc1.weight',
    'intermediate.dense.bias': 'mlp.fc1.bias',
    'output.dense.weight': 'mlp.fc2.weight',
    'output.dense.bias': 'mlp.fc2.bias',
    'lambda_1': 'gamma_1',
    'lambda_2': 'gamma_2',
    f'attention.attention.relative_position_bias.{TABLE}': f'attn.{TABLE}',
}
TOP = {
    'embeddings.cls_token': 'backbone.cls_token',
    'embeddings.mask_token': 'backbone.mask_token',
    'embeddings.position_embeddings': 'backbone.pos_embed',
    'embeddings.patch_embeddings.projection.weight': 'backbone.patch_embed.proj.weight',
    'embeddings.patch_embeddings.projection.bias': 'backbone.patch_embed.proj.bias',
    f'encoder.relative_position_bias.{TABLE}': SHARED,
    'layernorm.weight': 'backbone.norm.weight',
    'layernorm.bias': 'backbone.norm.bias',
    'pooler.layernorm.weight': 'neck.norm.weight',
    'pooler.layernorm.bias': 'neck.norm.bias',
}
HEADS = {  # beside beit., not below it
    'layernorm.weight': 'neck.norm.weight',
    'layernorm.bias': 'neck.norm.bias',
    'lm_head.weight': 'head.proj.weight',
    'lm_head.bias': 'head.proj.bias',
    'classifier.weight': 'head.fc.weight',
    'classifier.bias': 'head.fc.bias',
}


def hub_name(name: str) -> str:
    """Return the name that the files on the hub have."""
    prefix = 'beit.' * name.startswith('beit.')
    name = name.removeprefix('beit.').replace(
        'shared_position_bias.', 'encoder.relative_position_bias.'
    )
    match = re.match(r'layers\.(\d+)\.(.+)', name)
    if match:
        part = match[2]
        for pattern, replacement in MODULES:
            part = re.sub(pattern, replacement, part)
        name = f'encoder.layer.{match[1]}.{part}'
    return prefix + name


def matches(names: Collection[str]) -> bool:
    for prefix in ('', 'beit.'):
        marks = (
            f'{prefix}encoder.layer.0.lambda_1',
            f'{prefix}layers.0.lambda_1',
            f'{prefix}encoder.layer.0.attention.attention.query.weight',
            f'{prefix}layers.0.attention.q_proj.weight',
        )
        embedding = f'{prefix}embeddings.patch_embeddings.projection.weight' in names
        # ViT has the same names, and a bias of the key
        key_bias = any(
            n.endswith(('.0.attention.attention.key.bias', '.k_proj.bias')) for n in names
        )
        if embedding and any(mark in names for mark in marks) and not key_bias:
            return True
    return False


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    """Join query, key and value of each layer; everything else is renamed or dropped."""
    prefix = 'beit.' if any(name.startswith('beit.') for name in state) else ''
    layer = prefix.replace('.', r'\.') + r'encoder\.layer\.(\d+)\.'
    projection = layer + rf'attention\.attention\.({"|".join(QKV)})\.weight'
    top = {prefix + theirs: ours for theirs, ours in TOP.items()}
    names = {**HEADS, **top} if prefix else top
    rules = {
        **DROP_INDEX,
        **_additions(state, prefix),
        projection: ...,
        layer + _any_of(LAYER): lambda match: f'backbone.blocks.{match[1]}.{LAYER[match[2]]}',
        _any_of(names): lambda match: names[match[0]],
        r'(decode_head\.|auxiliary_head\.|fpn).*': Drop(
            'only the backbone of their segmentor is read'
        ),
    }
    conversion = convert(state, rules, 'not a part of BEiT', alias=hub_name)
    qkv: dict[str, dict[str, str]] = {}
    dropped = {name for line in conversion.lines if line.what == 'dropped' for name in line.sources}
    for name in state:
        if name not in dropped and (match := re.fullmatch(projection, hub_name(name))):
            qkv.setdefault(match[1], {})[match[2]] = name
    for number, parts in qkv.items():
        if lost := set(QKV) - set(parts):
            raise UserError(f'Layer {number} has no weight of {sorted(lost)}')
        joined = torch.cat([state[parts[part]] for part in QKV])
        target = f'backbone.blocks.{number}.attn.qkv.weight'
        conversion.join([parts[part] for part in QKV], target, joined)
    return note_pooling(conversion.finish())


def _additions(state: Mapping[str, Tensor], prefix: str) -> Rules:
    """Return the rules that drop what an export of this package adds for transformers' sake."""
    found = {}
    if prefix and 'layernorm.weight' in state:
        found[r'beit\.pooler\.layernorm\..*'] = Drop('the norm of lm_head, which is there')
    layers: dict[str, list[Tensor]] = {}
    for name, tensor in state.items():
        if match := re.match(r'(?:beit\.)?encoder\.layer\.(\d+)\.', hub_name(name)):
            layers.setdefault(match[1], []).append(tensor)
    last = max(layers, key=int, default=None)
    if last and 'decode_head.classifier.weight' in state:
        if not any(tensor.any() for tensor in layers[last]):
            found[rf'(beit\.)?encoder\.layer\.{last}\..*'] = Drop('a layer that does nothing')
    return found


def from_ours(state: Mapping[str, Tensor], task: str, grid: Grid | None = None) -> Conversion:
    """Convert to a BeitForMaskedImageModeling, a BeitForImageClassification, or the encoder."""
    attention = 'beit.encoder.layer.{}.attention.attention.'
    table = f'{attention}relative_position_bias.{TABLE}'
    layer_names = {ours: theirs for theirs, ours in LAYER.items()}
    heads = dict(pretrain=('neck.norm.', 'head.proj.'), classification=('head.fc.',)).get(task, ())
    top = ('backbone.', 'neck.norm.') if task == 'classification' else ('backbone.',)
    names = {ours: theirs for theirs, ours in HEADS.items() if ours.startswith(heads)}
    names |= {ours: f'beit.{theirs}' for theirs, ours in TOP.items() if ours.startswith(top)}
    qkv = r'backbone\.blocks\.(\d+)\.attn\.qkv\.weight'
    rules = {
        **({} if task == 'pretrain' else without_pretraining(state, table)),
        qkv: ...,
        r'backbone\.blocks\.(\d+)\.' + _any_of(layer_names): (
            lambda match: f'beit.encoder.layer.{match[1]}.{layer_names[match[2]]}'
        ),
        _any_of(names): lambda match: names[match[0]],
        r'tokenizer\..+': Drop(TOKENIZER),
    }
    why = f'transformers has no place for it in a model for {task}'
    conversion = convert(state, rules, why)
    for name, tensor in state.items():
        if match := re.fullmatch(qkv, name):
            place = attention.format(match[1])
            parts = zip(QKV, tensor.chunk(3), strict=True)
            conversion.split(name, {f'{place}{part}.weight': weight for part, weight in parts})
    return conversion.finish()


def _any_of(names: Iterable[str]) -> str:
    return f'({"|".join(map(re.escape, names))})'
