import copy
import pickle

import pytest
import torch
from mmengine.model import ExponentialMovingAverage

from beit_mm.models import BEiTEncoder
from beit_mm.models.layers import rel_pos_bias
from beit_mm.models.layers.rel_pos_bias import PositionCache

pytestmark = pytest.mark.slow

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2)


def encoder(rel_pos='per_layer', **kwargs) -> BEiTEncoder:
    settings = dict(arch=ARCH, img_size=16, patch_size=8, abs_pos=True, rel_pos=rel_pos)
    model = BEiTEncoder(**dict(settings, **kwargs))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model.eval()


def uncached(model: BEiTEncoder, x):
    """Return the features of a model that keeps nothing."""
    twin = copy.deepcopy(model)
    twin.positions.cache.max_bytes = 0
    with torch.no_grad():
        return twin(x)[0]


@pytest.fixture
def gathers(monkeypatch):
    """One entry for each bias that is gathered."""
    calls = []
    original = rel_pos_bias.gather_bias

    def counted(table, index):
        calls.append(index.shape)
        return original(table, index)

    monkeypatch.setattr(rel_pos_bias, 'gather_bias', counted)
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
    assert fresh.positions.cache.num_bytes == 0


def test_inference_mode_then_gradients():
    """What is kept in inference mode serves a frozen encoder inside of a training."""
    model = encoder()
    model.requires_grad_(False)
    with torch.inference_mode():
        model(X)
    x = X.clone().requires_grad_()
    model(x)[0].sum().backward()
    assert x.grad.abs().sum() > 0
    model.requires_grad_(True)  # index and matrices were kept in inference mode, too
    model(X)[0].sum().backward()
    assert model.blocks[0].attn.relative_position_bias_table.grad.any()


@pytest.mark.parametrize('twin_of', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@torch.no_grad()
def test_copies__start_empty_and_independent(twin_of):
    model = encoder()
    before = model(X)[0]
    twin = twin_of(model)
    assert twin.positions.cache.num_bytes == 0 < model.positions.cache.num_bytes
    assert all(block.attn.positions is twin.positions for block in twin.blocks)
    assert torch.equal(twin(X)[0], before)
    twin.blocks[0].attn.relative_position_bias_table.add_(1)
    assert not torch.equal(twin(X)[0], before)
    assert torch.equal(model(X)[0], before)
    assert list(model.state_dict()) == list(twin.state_dict())


def test_bound__other_grids_give_way_and_the_rest_is_made_each_time():
    made = []

    def get(owner, grid, size=1):
        def make():
            made.append(owner)
            return torch.zeros(size)

        cache.get(owner, torch.zeros(3), grid, make)

    cache = PositionCache(max_bytes=12)  # three float32 numbers
    for owner in 'aab':
        get(owner, (1, 1))
    assert made == ['a', 'b'] and cache.num_bytes == 8
    get('c', (2, 2), size=2)
    get('d', (2, 2), size=2)  # no room beside c, the newer grid is kept
    get('d', (2, 2), size=2)
    assert made == ['a', 'b', 'c', 'd', 'd'] and cache.num_bytes == 8
    cache.get('c', torch.ones(3), (3, 3), lambda: torch.zeros(1))
    assert cache.num_bytes == 4  # what was made of the old values of c has gone


@torch.no_grad()
def test_zero_keeps_nothing():
    model = encoder(position_cache_mb=0)
    model(X)
    assert model.positions.cache.num_bytes == 0


@pytest.mark.parametrize('size', [(3, 3), (5, 4)])
def test_constants__are_kept_in_training_for_few_grids(monkeypatch, size):
    made = []
    original = rel_pos_bias.relative_position_index
    monkeypatch.setattr(
        rel_pos_bias,
        'relative_position_index',
        lambda *args: made.append(args[0]) or original(*args),
    )
    model = encoder().train()
    x = torch.randn(1, 3, 8 * size[0], 8 * size[1])
    for _ in range(2):
        model(x)
    assert made == [size]
    for width in range(1, 2 + rel_pos_bias.MAX_GRIDS):
        model(torch.randn(1, 3, 8, 8 * width))
    assert len(model.positions._constants) == rel_pos_bias.MAX_GRIDS


@torch.no_grad()
def test_autocast__positions_are_not_resized_in_half_precision():
    model = encoder(abs_pos=False)
    owner = model.blocks[0].attn
    wanted = rel_pos_bias.RelativePositions((2, 2)).bias_of(owner, (5, 4))
    with torch.autocast('cpu', torch.bfloat16):
        got = rel_pos_bias.RelativePositions((2, 2)).bias_of(owner, (5, 4))
    assert torch.equal(got, wanted)


@torch.no_grad()
def test_compiled__same_features_in_one_graph():
    model = encoder()
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    assert torch.allclose(compiled(X)[0], model(X)[0], atol=1e-5)


@pytest.mark.parametrize('rel_pos', ['shared', 'per_layer'])
@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('x', [X, X[..., :16, :]], ids=['resized', 'own grid'])
@torch.no_grad()
def test_exported_before_the_first_forward__later_forwards_are_real(x, strict, rel_pos):
    model = encoder(rel_pos)
    batch = torch.export.Dim('batch', min=1, max=8)
    example = torch.cat([x, x])
    shapes = dict(x={0: batch}, mask=None, return_bias=None)
    program = torch.export.export(
        model, (example, None, False), dynamic_shapes=shapes, strict=strict
    )
    assert type(model(x)[0]) is torch.Tensor and torch.equal(model(x)[0], uncached(model, x))
    several = torch.cat([x, x + 1, x - 1])  # another batch size than the example
    torch.testing.assert_close(program.module()(several, None, False)[0], model(several)[0])


@torch.no_grad()
def test_fake_tensors__leave_nothing_behind():
    model = encoder()
    before = uncached(model, X)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        model(X)
    assert torch.equal(model(X)[0], before)
