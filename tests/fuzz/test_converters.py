"""Names of other code bases and back, for any architecture: no bit of a weight changes."""

import re

import torch
import torch.nn as nn
from fuzzing import prop, seeds
from hypothesis import strategies as st

from beit_mm.checkpoints import LAYOUTS, detect
from beit_mm.models import BEiTEncoder, MaskedPatchNeck, PatchMeanNeck

TABLE = 'relative_position_bias_table'


@st.composite
def models(draw):
    """(task, grid, names and tensors) of a model of ours."""
    task = draw(st.sampled_from(['pretrain', 'classification']))
    heads, grid = draw(st.integers(1, 3)), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dims = heads * draw(st.integers(1, 4))
    positions = ['shared', None] if task == 'pretrain' else ['per_layer', 'shared', None]
    backbone = BEiTEncoder(
        arch=dict(embed_dims=dims, num_layers=draw(st.integers(1, 3)), num_heads=heads),
        img_size=(2 * grid[0], 2 * grid[1]),
        patch_size=2,
        in_channels=draw(st.integers(1, 4)),
        rel_pos=draw(st.sampled_from(positions)),
        abs_pos=draw(st.booleans()),
        layer_scale_init=draw(st.sampled_from([0.1, None])),
    )
    parts = dict(backbone=backbone)
    if task == 'pretrain':
        parts['neck'] = MaskedPatchNeck(dims)
        parts['head'] = nn.ModuleDict(dict(proj=nn.Linear(dims, 5)))
    else:
        parts['neck'] = PatchMeanNeck(dims)
        parts['head'] = nn.ModuleDict(dict(fc=nn.Linear(dims, 5)))
    generator = torch.Generator().manual_seed(draw(seeds))
    state = nn.ModuleDict(parts).state_dict()
    state = {name: torch.randn(t.shape, generator=generator) for name, t in state.items()}
    return task, grid, state


def through(layout, state, task, grid):
    """Ours -> theirs -> ours, and the tensors that theirs has no place for."""
    there = LAYOUTS[layout].from_ours(state, task, grid)
    back = LAYOUTS[layout].to_ours(there.result)
    found = detect(there.result)
    if found == 'beit_mm':  # an encoder alone has the original's names
        assert not any('head' in name for name in there.result)
    elif found != layout:  # without positions two layouts can have the same names
        assert list(LAYOUTS[found].to_ours(there.result).result) == list(back.result)
    dropped = {n for line in there.lines if line.what == 'dropped' for n in line.sources}
    return back.result, dropped


def agree(state, back, dropped):
    """Nothing but ``dropped`` is missing; a shared table may have become one of each layer."""
    for name, tensor in back.items():
        shared = 'backbone.rel_pos_bias.' + TABLE
        source = shared if name.endswith(TABLE) and name not in state else name
        assert torch.equal(tensor, state[source]), name
    for name in set(state) - set(back) - dropped:
        assert name.endswith('rel_pos_bias.' + TABLE)
        assert any(re.fullmatch(rf'backbone\.blocks\.0\.attn\.{TABLE}', n) for n in back)


@prop(few=40, model=models(), layout=st.sampled_from(['unilm', 'timm', 'huggingface']))
def test_round_trip(model, layout):
    task, grid, state = model
    back, dropped = through(layout, state, task, grid)
    agree(state, back, dropped)
    # a whole model keeps all but the parts that belong to another task
    parts = ('backbone.mask_token', 'neck.', 'head.')
    assert all(name.startswith(parts) for name in dropped)


@prop(few=40, model=models(), layout=st.sampled_from(['mmpretrain', 'mmseg']))
def test_round_trip__openmmlab(model, layout):
    task, grid, state = model
    if layout == 'mmseg':
        if 'backbone.pos_embed' in state:
            return  # refused in words, see test_layouts
        # a segmentor, whose head keeps its names
        state = {n: t for n, t in state.items() if n.startswith('backbone.')}
        state['decode_head.conv_seg.weight'] = torch.randn(3, 2, 1, 1)
        task = 'segmentation'
    back, dropped = through(layout, state, task, grid)
    agree(state, back, dropped)
    assert dropped <= {'backbone.mask_token'}


@prop(
    few=30,
    model=models(),
    way=st.lists(st.sampled_from(['unilm', 'timm', 'huggingface', 'mmpretrain']), max_size=4),
)
def test_any_way_around__ends_at_the_same_tensors(model, way):
    task, grid, state = model
    task = 'classification' if task == 'classification' else 'backbone'
    first, lost = state, set()
    for layout in way:
        back, dropped = through(layout, first, task, grid)
        lost |= dropped
        agree(first, back, dropped)
        first = back
    agree(state, first, lost)
