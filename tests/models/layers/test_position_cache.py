import copy
import pickle

import pytest
import torch
from mmengine.model import ExponentialMovingAverage

from beit_mm.models import BEiTEncoder
from beit_mm.models.layers import rel_pos_bias
from beit_mm.models.layers.position_cache import PositionCache

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2)


def encoder(rel_pos='per_layer', **kwargs) -> BEiTEncoder:
    settings = dict(arch=ARCH, img_size=16, patch_size=8, abs_pos=True, rel_pos=rel_pos)
    model = BEiTEncoder(**dict(settings, **kwargs))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model.eval()


def uncached(model: BEiTEncoder, x):
    """What a model that keeps nothing says."""
    twin = copy.deepcopy(model)
    twin.position_cache.max_bytes = 0
    with torch.no_grad():
        return twin(x)[0]


@pytest.fixture
def gathers(monkeypatch):
    """One entry for each bias that is gathered."""
    calls = []
    original = rel_pos_bias.gather_bias

    def counted(table, grid):
        calls.append(grid)
        return original(table, grid)

    monkeypatch.setattr('beit_mm.models.backbones.beit_encoder.gather_bias', counted)
    return calls


X = torch.linspace(-1, 1, 3 * 24 * 16).view(1, 3, 24, 16)  # 3 x 2 patches; the model has 2 x 2


@pytest.mark.parametrize('rel_pos, number', [('per_layer', 2), ('shared', 1)])
def test_one_gather_for_each_table_and_grid(gathers, rel_pos, number):
    model = encoder(rel_pos)
    with torch.no_grad():
        first = model(X)[0]
        assert len(gathers) == number
        assert torch.equal(model(X)[0], first) and len(gathers) == number
        model(X[..., :16, :])
        assert len(gathers) == 2 * number
        model(X)
        assert len(gathers) == 2 * number
    assert torch.equal(first, uncached(model, X))


def step(model, fused):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    with torch.enable_grad():
        model(X)[0].square().sum().backward()
    with torch.no_grad():  # kept with the values before the step
        model(X)
    optimizer.step()


def average(model):
    averaged = ExponentialMovingAverage(encoder())
    for mine, theirs in zip(model.parameters(), averaged.module.parameters(), strict=True):
        mine.data.copy_(theirs.data)  # as EMAHook swaps weights


CHANGES = dict(
    step=lambda model: step(model, fused=False),
    fused_step=lambda model: step(model, fused=True),
    load=lambda model: model.load_state_dict(encoder().state_dict()),
    assign=lambda model: model.load_state_dict(encoder().state_dict(), assign=True),
    data=lambda model: model.blocks[1].attn.relative_position_bias_table.data.add_(1),
    new_data=lambda model: setattr(model.pos_embed, 'data', model.pos_embed.data + 1),
    ema_swap=average,
    double_and_back=lambda model: model.double().float().pos_embed.data.neg_(),
)


@pytest.mark.parametrize('change', CHANGES)
@torch.no_grad()
def test_never_stale(change):
    model = encoder()
    before = model(X)[0]
    CHANGES[change](model)
    assert torch.equal(model(X)[0], uncached(model, X))
    assert not torch.equal(model(X)[0], before)


def test_training__gradients_and_no_entries():
    model = encoder()
    with torch.no_grad():
        model(X)
    for mode in (False, True):
        model.train(mode).zero_grad()
        model(X)[0].square().sum().backward()
        assert all(block.attn.relative_position_bias_table.grad.any() for block in model.blocks)
        assert model.pos_embed.grad.any()
    fresh = encoder().train()
    fresh(X)
    assert fresh.position_cache.num_bytes == 0


def test_inference_mode_then_gradients():
    """What is kept in inference mode serves a frozen encoder inside of a training."""
    model = encoder()
    model.requires_grad_(False)
    with torch.inference_mode():
        model(X)
    x = X.clone().requires_grad_()
    model(x)[0].sum().backward()
    assert x.grad.abs().sum() > 0
    rel_pos_bias.relative_position_index.cache_clear()
    rel_pos_bias._axis_matrix.cache_clear()
    with torch.inference_mode():
        encoder().double()(X.double())
    encoder().double()(X.double())[0].sum().backward()


@pytest.mark.parametrize('twin_of', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@torch.no_grad()
def test_copies__start_empty_and_independent(twin_of):
    model = encoder()
    before = model(X)[0]
    twin = twin_of(model)
    assert twin.position_cache.num_bytes == 0 < model.position_cache.num_bytes
    assert torch.equal(twin(X)[0], before)
    twin.blocks[0].attn.relative_position_bias_table.add_(1)
    assert not torch.equal(twin(X)[0], before)
    assert torch.equal(model(X)[0], before)
    assert list(model.state_dict()) == list(twin.state_dict())


@torch.no_grad()
def test_bound__other_grids_give_way_and_the_rest_is_made_each_time():
    made = []

    def make(name, size=1):
        made.append(name)
        return torch.zeros(size)

    table = [torch.zeros(3)]
    cache = PositionCache(max_bytes=12)  # three float32 numbers
    get = cache.open(table)
    for name in 'aab':
        get(((1, 1), name), lambda name=name: make(name))
    assert made == ['a', 'b'] and cache.num_bytes == 8
    get(((2, 2), 'c'), lambda: make('c', 2))
    get(((2, 2), 'd'), lambda: make('d', 2))  # no room beside c, the newer grid is kept
    get(((2, 2), 'd'), lambda: make('d', 2))
    assert made == ['a', 'b', 'c', 'd', 'd'] and cache.num_bytes == 8
    cache.open([torch.ones(3)])
    assert cache.num_bytes == 0


@torch.no_grad()
def test_zero_keeps_nothing():
    model = encoder(position_cache_mb=0)
    model(X)
    assert model.position_cache.num_bytes == 0


@torch.no_grad()
def test_autocast__positions_are_not_resized_in_half_precision():
    table = torch.randn(rel_pos_bias.table_length((3, 3)), 2)
    wanted = rel_pos_bias.bias_of_table(table, (3, 3), (5, 4))
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(rel_pos_bias.bias_of_table(table, (3, 3), (5, 4)), wanted)


@torch.no_grad()
def test_compiled__same_features_in_one_graph():
    model = encoder()
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    assert torch.allclose(compiled(X)[0], model(X)[0], atol=1e-5)
