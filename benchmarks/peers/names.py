"""Names of weights of other implementations -> ours."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Named = Mapping[str, Tensor]
Rules = Sequence[tuple[str, str]]

TIMM = [(r'^fc_norm', 'neck.norm'), (r'^(?!neck|head)', 'backbone.')]
HF = [
    (r'^beit\.pooler\.layernorm', 'neck.norm'),
    (r'^layernorm', 'neck.norm'),
    (r'^lm_head', 'head.proj'),
    (r'^classifier', 'head'),
    (r'^beit\.', 'backbone.'),
    (r'^fpn\.fpn1\.conv_transpose1', 'neck.upsample_4x.0'),
    (r'^fpn\.fpn1\.normalization', 'neck.upsample_4x.1'),
    (r'^fpn\.fpn1\.conv_transpose2', 'neck.upsample_4x.3'),
    (r'^fpn\.fpn2', 'neck.upsample_2x.0'),
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (r'embeddings\.patch_embeddings\.projection', 'patch_embed.proj'),
    (r'embeddings\.', ''),
    (r'shared_position_bias', 'rel_pos_bias'),
    (r'\.layers\.', '.blocks.'),
    (r'(blocks\.\d+)\.relative_position_bias\.', r'\1.attn.'),
    (r'attention\.o_proj', 'attn.proj'),
    (r'attention\.(.)_proj', r'attn.\1'),
    (r'layernorm_before', 'norm1'),
    (r'layernorm_after', 'norm2'),
    (r'lambda_', 'gamma_'),
]
# mmpretrain's BEiTViT and mmseg's BEiT
OPENMMLAB = [
    (r'patch_embed\.projection', 'patch_embed.proj'),
    (r'\.ln(\d)', r'.norm\1'),
    (r'ffn\.layers\.0\.0', 'mlp.fc1'),
    (r'ffn\.layers\.1', 'mlp.fc2'),
    (r'(^|\.)layers\.(\d+)\.', r'\1blocks.\2.'),
]


def rename(tensors: Named, rules: Rules) -> dict[str, Tensor]:
    """Apply each rule (pattern, replacement) in turn to each name."""
    result = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def from_hf(tensors: Named) -> dict[str, Tensor]:
    """Return weights of transformers' Beit models as those of backbone, neck and head."""
    result = rename(tensors, HF)
    for name in [name for name in result if name.endswith('.attn.q.weight')]:
        prefix = name.removesuffix('q.weight')
        parts = [result.pop(f'{prefix}{part}.weight') for part in 'qkv']
        result[f'{prefix}qkv.weight'] = torch.cat(parts)
        result[f'{prefix}q_bias'] = result.pop(f'{prefix}q.bias')
        result[f'{prefix}v_bias'] = result.pop(f'{prefix}v.bias')
    return result


def from_timm(tensors: Named) -> dict[str, Tensor]:
    """Return weights of timm's Beit as those of backbone, neck and head."""
    return rename(tensors, TIMM)


def from_openmmlab(tensors: Named) -> dict[str, Tensor]:
    """Return weights of mmpretrain's BEiTViT or mmseg's BEiT as those of a backbone."""
    return rename(tensors, [*OPENMMLAB, (r'^', 'backbone.')])


def vqkd_from_openmmlab(tensors: Named) -> dict[str, Tensor]:
    """Return weights of mmpretrain's VQKD as those of VQKDTokenizer."""
    rules = [
        (r'encoder\.ln1', 'encoder.norm'),
        *OPENMMLAB,
        (r'quantize\.embedding\.weight', 'codebook.weight'),
        (r'quantize\.embedding\.initted', 'codebook.initialized'),
    ]
    kept = {name: value for name, value in tensors.items() if name != 'quantize.cluster_size'}
    return rename(kept, rules)
