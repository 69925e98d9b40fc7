"""Hugging Face transformers: ``BeitModel``, ``BeitForMaskedImageModeling``,
``BeitForImageClassification``, and the backbone of ``BeitForSemanticSegmentation``.

Two generations of names: the files on the hub and what ``save_pretrained`` writes
(``beit.encoder.layer.0.attention.attention.query``), and the modules of version 5
(``beit.layers.0.attention.q_proj``). Both are read; the former is written, since every version
loads it. q, k and v are three matrices; the key has no bias.
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.names import (
    INDEX,
    NOT_NEEDED,
    SHARED,
    TABLE,
    TOKENIZER,
    note_pooling,
    num_layers,
)

NAME = 'huggingface'

PROJECTION = r'attention\.attention\.(query|key|value)\.weight'
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

HEAD_OF = dict(pretrain='head.proj.', classification='head.fc.')


def hub_name(name: str) -> str:
    """The name that the files on the hub have."""
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
        layers = (f'{prefix}encoder.layer.0.lambda_1', f'{prefix}layers.0.lambda_1')
        layers += (
            f'{prefix}encoder.layer.0.attention.attention.query.weight',
            f'{prefix}layers.0.attention.q_proj.weight',
        )
        embedding = f'{prefix}embeddings.patch_embeddings.projection.weight' in names
        # ViT has the same names, and a bias of the key
        key_bias = any(
            n.endswith(('.0.attention.attention.key.bias', '.k_proj.bias')) for n in names
        )
        if embedding and any(layer in names for layer in layers) and not key_bias:
            return True
    return False


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    conversion = Conversion(state)
    prefix = 'beit.' if any(name.startswith('beit.') for name in state) else ''
    qkv: dict[str, dict[str, str]] = {}
    for name in state:
        hub = hub_name(name)
        short = hub.removeprefix(prefix)
        inside = hub.startswith(prefix)
        layer = re.match(r'encoder\.layer\.(\d+)\.(.+)', short) if inside else None
        if name.endswith(INDEX):
            conversion.drop(name, NOT_NEEDED)
        elif layer and (
            part := re.match(r'attention\.attention\.(query|key|value)\.weight', layer[2])
        ):
            qkv.setdefault(layer[1], {})[part[1]] = name
        elif layer and layer[2] in LAYER:
            conversion.move(name, f'backbone.blocks.{layer[1]}.{LAYER[layer[2]]}')
        elif inside and short in TOP:
            conversion.move(name, TOP[short])
        elif prefix and hub in HEADS:
            conversion.move(name, HEADS[hub])
        elif hub.startswith(('decode_head.', 'auxiliary_head.', 'fpn')):
            conversion.drop(name, 'only the backbone of their segmentor is read')
        else:
            conversion.drop(name, 'not a part of BEiT')
    for layer, parts in qkv.items():
        names = [parts.get(part) for part in ('query', 'key', 'value')]
        if None in names:
            raise ValueError(
                f'Layer {layer} has no weight of {sorted({"query", "key", "value"} - set(parts))}'
            )
        joined = torch.cat([state[name] for name in names])
        conversion.join(names, f'backbone.blocks.{layer}.attn.qkv.weight', joined)
    return note_pooling(conversion.finish())


def from_ours(
    state: Mapping[str, Tensor], task: str, grid: tuple[int, int] | None = None
) -> Conversion:
    """``BeitForMaskedImageModeling``, ``BeitForImageClassification``, or the encoder of one."""
    conversion = Conversion(state)
    pretrain = task == 'pretrain'
    layers = num_layers(state, 'backbone.blocks.')
    layer_names = {ours: theirs for theirs, ours in LAYER.items()}
    top_names = {ours: f'beit.{theirs}' for theirs, ours in TOP.items()}
    head_names = {ours: theirs for theirs, ours in HEADS.items()}
    for name, tensor in state.items():
        block = re.match(r'backbone\.blocks\.(\d+)\.(.+)', name)
        place = f'beit.encoder.layer.{block[1]}.' if block else ''
        if name == SHARED and not pretrain:
            table = f'attention.attention.relative_position_bias.{TABLE}'
            targets = [f'beit.encoder.layer.{i}.{table}' for i in range(layers)]
            conversion.expand(name, targets)
        elif name == 'backbone.mask_token' and not pretrain:
            conversion.drop(name, 'only pre-training masks patches')
        elif block and block[2] == 'attn.qkv.weight':
            parts = zip(('query', 'key', 'value'), tensor.chunk(3), strict=True)
            conversion.split(
                name, {f'{place}attention.attention.{part}.weight': t for part, t in parts}
            )
        elif block and block[2] in layer_names:
            conversion.move(name, place + layer_names[block[2]])
        elif name.startswith('neck.norm.') and pretrain:
            conversion.move(name, head_names[name])
        elif name.startswith(HEAD_OF.get(task, '(none)')):
            conversion.move(name, head_names[name])
        elif name in top_names and (name.startswith('backbone.') or task == 'classification'):
            conversion.move(name, top_names[name])
        elif name.startswith('tokenizer.'):
            conversion.drop(name, TOKENIZER)
        else:
            conversion.drop(name, f'transformers has no place for it in a model for {task}')
    return conversion.finish()
