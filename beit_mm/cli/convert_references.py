"""Compute what a checkpoint computes: by our encoder, by plain functions, by its own library.

Each function takes named tensors, their :class:`Sizes` and a batch, and returns ``tokens``, the
output of the last block and the norm after it (or ``featmap``, the patches among them), and
``logits`` of the checkpoint's own head if it has one.
"""

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from beit_mm.apis.export import huggingface, timm
from beit_mm.apis.export.sizes import Sizes, build_encoder
from beit_mm.checkpoints import write_weights
from beit_mm.contracts import UserError
from beit_mm.contracts.positions import INDEX, TABLE, relative_position_index

Outputs = dict[str, Tensor]
SEGMENTOR_ONLY = ('decode_head.', 'auxiliary_head.', 'fpn')


def compute_logits(tokens: Tensor, state: Mapping[str, Tensor], mask: Tensor) -> Outputs:
    """Return the logits of our neck and head, a norm and a linear layer."""
    if 'neck.norm.weight' not in state:
        return {}
    norm = (state['neck.norm.weight'].shape, state['neck.norm.weight'], state['neck.norm.bias'])
    if 'head.proj.weight' in state:
        patches = F.layer_norm(tokens[:, 1:][mask.flatten(1)], *norm, 1e-6)
        return dict(logits=F.linear(patches, state['head.proj.weight'], state['head.proj.bias']))
    if 'head.fc.weight' in state:
        mean = F.layer_norm(tokens[:, 1:].mean(1), *norm, 1e-6)
        return dict(logits=F.linear(mean, state['head.fc.weight'], state['head.fc.bias']))
    return {}


def run_ours(state: Mapping[str, Tensor], sizes: Sizes, x: Tensor, mask: Tensor) -> Outputs:
    model = build_encoder(sizes)
    _load(model, _below(state, 'backbone.'), {'mask_token'})
    (tokens,) = model(x, mask if 'head.proj.weight' in state else None)
    return dict(tokens=tokens, **compute_logits(tokens, state, mask))


def run_original(state: Mapping[str, Tensor], sizes: Sizes, x: Tensor, mask: Tensor) -> Outputs:
    """Compute the original's steps on its names, without any module of ours."""
    index = relative_position_index(sizes.grid)

    def bias(table: Tensor | None) -> Tensor | float:
        return 0.0 if table is None else table[index].permute(2, 0, 1)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f'{name}.weight'], state.get(f'{name}.bias'))

    kernel = (state['patch_embed.proj.weight'], state['patch_embed.proj.bias'])
    x = F.conv2d(x, *kernel, stride=sizes.patch).flatten(2).transpose(1, 2)
    if 'lm_head.weight' in state:
        x = torch.where(mask.flatten(1)[..., None], state['mask_token'], x)
    x = torch.cat([state['cls_token'].expand(len(x), -1, -1), x], 1)
    x = x + state.get('pos_embed', 0.0)
    shared = bias(state.get(f'rel_pos_bias.{TABLE}'))
    for i in range(sizes.layers):
        block = f'blocks.{i}.'
        qkv = linear(norm(x, f'{block}norm1'), f'{block}attn.qkv')
        if f'{block}attn.q_bias' in state:
            q_bias, v_bias = state[f'{block}attn.q_bias'], state[f'{block}attn.v_bias']
            qkv = qkv + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
        q, k, v = qkv.unflatten(-1, (3, sizes.heads, -1)).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        logits = logits + shared + bias(state.get(f'{block}attn.{TABLE}'))
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + state.get(f'{block}gamma_1', 1.0) * linear(mixed, f'{block}attn.proj')
        hidden = F.gelu(linear(norm(x, f'{block}norm2'), f'{block}mlp.fc1'))
        x = x + state.get(f'{block}gamma_2', 1.0) * linear(hidden, f'{block}mlp.fc2')
    if 'lm_head.weight' in state:
        return dict(tokens=x, logits=linear(norm(x, 'norm')[:, 1:][mask.flatten(1)], 'lm_head'))
    if 'norm.weight' in state:
        x = norm(x, 'norm')
    if 'fc_norm.weight' in state and 'head.weight' in state:
        return dict(tokens=x, logits=linear(norm(x[:, 1:].mean(1), 'fc_norm'), 'head'))
    return dict(tokens=x)


def run_timm(state: Mapping[str, Tensor], sizes: Sizes, x: Tensor, mask: Tensor) -> Outputs:
    from timm.models.beit import Beit

    model = Beit(**timm.make_arguments(sizes, state)).eval()
    unused = set() if 'fc_norm.weight' in state else {'fc_norm.weight', 'fc_norm.bias'}
    _load(model, state, unused)
    outputs = dict(tokens=model.forward_features(x))
    return dict(outputs, logits=model(x)) if 'head.weight' in state else outputs


def run_huggingface(state: Mapping[str, Tensor], sizes: Sizes, x: Tensor, mask: Tensor) -> Outputs:
    import transformers

    if sizes.grid[0] != sizes.grid[1] and any(n.endswith(TABLE) for n in state):
        raise UserError(
            f'{huggingface.NOT_SQUARE}; use --img-size with a square size, or another layout'
        )
    # Of a segmentor the encoder alone is read.
    state = {n: t for n, t in state.items() if not n.startswith(SEGMENTOR_ONLY)}
    pretrain, classify = 'lm_head.weight' in state, 'classifier.weight' in state
    config = transformers.BeitConfig(**huggingface.make_config(sizes, state))
    kind = 'ForMaskedImageModeling' if pretrain else 'ForImageClassification' * classify or 'Model'
    with tempfile.TemporaryDirectory() as folder:
        write_weights(state, Path(folder) / 'model.safetensors')
        config.save_pretrained(folder)
        model, info = getattr(transformers, f'Beit{kind}').from_pretrained(
            folder, output_loading_info=True
        )
    lost = [n for n in info['missing_keys'] if not n.startswith('pooler.')]
    if lost or info['unexpected_keys']:
        raise UserError(f'transformers misses {lost}, ignores {sorted(info["unexpected_keys"])}')
    model.eval()
    if pretrain:
        logits = model(x, bool_masked_pos=mask.flatten(1)).logits
        return dict(logits=logits[mask.flatten(1)])
    if classify:
        return dict(tokens=model.beit(x).last_hidden_state, logits=model(x).logits)
    return dict(tokens=model(x).last_hidden_state)


def run_mmpretrain(state: Mapping[str, Tensor], sizes: Sizes, x: Tensor, mask: Tensor) -> Outputs:
    if 'cls_token' in state:  # a backbone without its prefix
        state = {f'backbone.{name}': tensor for name, tensor in state.items()}
    pretrain = 'head.cls_head.weight' in state
    masks = 'backbone.mask_token' in state
    first = pretrain and 'backbone.ln1.weight' in state and 'neck.norm.weight' not in state
    model = MODELS.build(
        dict(
            type=f'mmpretrain.BEiT{"Pretrain" * masks}ViT',
            arch=dict(sizes.arch, feedforward_channels=sizes.hidden),
            **sizes.images,
            out_type='raw' if masks or 'backbone.ln2.weight' not in state else 'avg_featmap',
            final_norm='backbone.ln1.weight' in state,
            use_abs_pos_emb=sizes.abs_pos,
            use_rel_pos_bias=any('.attn.' + TABLE in name for name in state),
            use_shared_rel_pos_bias=f'backbone.rel_pos_bias.{TABLE}' in state,
            layer_scale_init_value=0.1 if sizes.layer_scale else 0.0,
        )
    )
    model.eval()
    _load(model, _below(state, 'backbone.'))
    (features,) = model(x, mask if pretrain else None) if masks else model(x)
    head = 'head.cls_head' if pretrain else 'head.fc'
    if first:
        features = features[:, 1:][mask.flatten(1)]
    elif features.ndim == 2 and 'head.fc.weight' not in state:
        model.out_type = 'raw'  # not the mean
        return dict(tokens=model(x)[0])
    elif features.ndim == 3:
        return dict(tokens=features)
    return dict(logits=F.linear(features, state[f'{head}.weight'], state[f'{head}.bias']))


def run_mmseg(state: Mapping[str, Tensor], sizes: Sizes, x: Tensor, mask: Tensor) -> Outputs:
    prefix = 'backbone.' if 'backbone.cls_token' in state else ''
    model = MODELS.build(
        dict(
            type='mmseg.BEiT',
            **sizes.arch,
            **sizes.images,
            mlp_ratio=sizes.hidden // sizes.dims,
            qv_bias=sizes.qkv_bias,
            norm_cfg=dict(type='LN', eps=1e-6),
            final_norm=f'{prefix}ln1.weight' in state,
            init_values=0.1,
        )
    )
    model.eval()
    own = _below(state, prefix)
    _load(model, {n: t for n, t in own.items() if not n.startswith('patch_embed.proj.')})
    return dict(featmap=model(x)[0])


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}


def _load(model: torch.nn.Module, state: Mapping[str, Tensor], unused: set | None = None) -> None:
    keys = model.load_state_dict(dict(state), strict=False)
    lost = set(keys.missing_keys) - (unused or set())
    lost = {name for name in lost if not name.endswith(INDEX)}
    extra = [n for n in keys.unexpected_keys if not n.endswith(INDEX)]
    if lost or extra:
        raise UserError(f'{type(model).__name__} misses {sorted(lost)} and ignores {extra}')


REFERENCES = dict(
    beit_mm=(run_ours, None),
    unilm=(run_original, None),
    unilm_seg=(lambda state, *batch: run_original(_below(state, 'backbone.'), *batch), None),
    timm=(run_timm, 'timm'),
    huggingface=(run_huggingface, 'transformers'),
    mmpretrain=(run_mmpretrain, 'mmpretrain'),
    mmseg=(run_mmseg, 'mmseg'),
)


@torch.no_grad()
def compute_outputs(
    layout: str, state: Mapping[str, Tensor], sizes: Sizes, x: Tensor, mask: Tensor
) -> Outputs | None:
    """Return what ``state`` computes, or None where the library of its layout is missing.

    Args:
        state: Named tensors of ``layout``.
        x: (B, C, H, W)
        mask: (B, h, w) bool, used by checkpoints of a pre-training.
    """
    function, package = REFERENCES[layout]
    if package is not None and find_spec(package) is None:
        return None
    outputs = function({n: t.float() for n, t in state.items()}, sizes, x, mask)
    if 'tokens' in outputs:
        tokens = outputs['tokens'][:, 1:].transpose(1, 2)
        outputs['featmap'] = tokens.unflatten(2, mask.shape[1:])
    return outputs
