import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.runner.checkpoint import get_state_dict

from beit_mm.contracts.digest import module_sha256
from beit_mm.models import DALLETokenizer
from beit_mm.models.losses.logit_laplace_recon_loss import logit_laplace_nll

SMALL = dict(vocab_size=32, width=8, num_blocks=1, code_dim=6)


def test_encoder__has_the_published_size():
    with torch.device('meta'):
        model = DALLETokenizer()
    assert sum(p.numel() for p in model.encoder.parameters()) == 53_786_240
    assert sum(p.numel() for p in model.decoder.parameters()) == 43_829_766
    groups = [name for name, _ in model.encoder.blocks.named_children()]
    assert groups == ['input', 'group_1', 'group_2', 'group_3', 'group_4', 'output']


def reference_encoder(state: dict, x):
    """OpenAI's encoder written as plain functions of a state dict with their names."""

    def conv(x, name):
        weight = state[f'{name}.w']
        return F.conv2d(x, weight, state[f'{name}.b'], padding=weight.shape[-1] // 2)

    x = conv(x, 'blocks.input')
    for group in (1, 2, 3, 4):
        for block in (1, 2):
            name = f'blocks.group_{group}.block_{block}'
            path = x
            for i in (1, 2, 3, 4):
                path = conv(F.relu(path), f'{name}.res_path.conv_{i}')
            identity = conv(x, f'{name}.id_path') if f'{name}.id_path.w' in state else x
            x = identity + path / 64
        if group < 4:
            x = F.max_pool2d(x, 2)
    return conv(F.relu(x), 'blocks.output.conv')


@pytest.mark.parametrize('layout', ['openai', 'mmpretrain'])
def test_state_dict_of_the_original__loads_and_gives_its_logits(layout):
    settings = dict(SMALL, num_blocks=2)
    source = {
        name.replace('.weight', '.w').replace('.bias', '.b'): torch.randn_like(tensor) * 0.1
        for name, tensor in DALLETokenizer(**settings).encoder.state_dict().items()
    }
    prefix = 'encoder.' if layout == 'mmpretrain' else ''
    model = DALLETokenizer(**settings).eval()
    keys = model.load_state_dict({prefix + n: t for n, t in source.items()}, strict=False)
    assert keys.unexpected_keys == []
    assert all(name.startswith('decoder.') for name in keys.missing_keys)
    images = torch.rand(2, 3, 16, 24)
    expected = reference_encoder(source, 0.8 * images + 0.1)
    torch.testing.assert_close(model.vectors(images).permute(0, 3, 1, 2), expected)
    assert torch.equal(model.encode(images), expected.argmax(1))


def test_own_state_dict__round_trip():
    first, second = DALLETokenizer(**SMALL).eval(), DALLETokenizer(**SMALL).eval()
    second.load_state_dict(first.state_dict())
    ids = torch.randint(32, (2, 2, 3))
    assert torch.equal(first.decode(ids), second.decode(ids))


def test_decode__first_convolution_of_one_hot_tokens_is_a_lookup():
    model = DALLETokenizer(**SMALL).eval()
    torch.nn.init.normal_(model.decoder.blocks.input.bias)
    ids = torch.randint(32, (2, 2, 3))
    one_hot = F.one_hot(ids, 32).permute(0, 3, 1, 2).float()
    mu = model.decoder.blocks(one_hot)[:, :3]  # the original's way, six maps
    expected = ((torch.sigmoid(mu) - 0.1) / 0.8).clamp(0, 1)
    torch.testing.assert_close(model.decode(ids), expected)


def test_logit_laplace__is_a_density():
    """The integral over (0, 1) is 1 for any mu and b, and the loss is minus its logarithm."""
    x = torch.linspace(1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    for mu, b in ((0.0, 1.0), (1.5, 0.4), (-2.0, 0.7)):
        density = torch.exp(-(torch.logit(x) - mu).abs() / b) / (2 * b * x * (1 - x))
        assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=2e-3)
        value = 0.3
        nll = logit_laplace_nll(
            torch.tensor([mu, math.log(b)]).view(1, 2, 1, 1), torch.full((1, 1, 1, 1), value)
        )
        logit = math.log(value / (1 - value))
        direct = math.log(2 * b * value * (1 - value)) + abs(logit - mu) / b
        assert nll.item() == pytest.approx(direct, rel=1e-5)


def test_first_and_last_convolutions__run_in_float32():
    model = DALLETokenizer(**SMALL)
    seen = {}
    for name, module in model.encoder.blocks.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda module, inputs, out, name=name: seen.update({name: out.dtype})
            )
    with torch.autocast('cpu', torch.bfloat16):
        model.loss(torch.rand(1, 3, 16, 16))
    full = {name for name, dtype in seen.items() if dtype == torch.float32}
    assert full == {'input', 'output.conv'}


def test_loss__every_parameter_has_a_gradient():
    model = DALLETokenizer(**SMALL)
    losses = model.loss(torch.rand(2, 3, 32, 32))
    model.parse_losses(losses)[0].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_initial_loss__is_near_that_of_a_unit_logit_laplace():
    """With maps near 0 the density has mu = 0 and b = 1; the init makes it so, about."""
    images = torch.rand(2, 3, 16, 16)
    x = 0.8 * images + 0.1
    expected = (torch.log(2 * x * (1 - x)) + torch.logit(x).abs()).mean()
    zero = logit_laplace_nll(torch.zeros(2, 6, 16, 16), x)
    torch.testing.assert_close(zero, expected)


@pytest.mark.parametrize('channels', [1, 4])
def test_other_channels__refused_with_what_to_do(channels):
    with pytest.raises(ValueError, match=f"have {channels} channels; OpenAI's weights are for red"):
        DALLETokenizer(**SMALL).encode(torch.rand(1, channels, 16, 16))


@pytest.mark.parametrize(
    'images',
    [
        torch.rand(1, 3, 16, 16) * 255,
        torch.rand(1, 3, 16, 16) - 0.5,
        torch.full((1, 3, 16, 16), float('nan')),
    ],
)
def test_pixels_outside_of_0_and_1__refused(images):
    with pytest.raises(ValueError, match=r'takes images in \[0, 1\], but .*token_scale'):
        DALLETokenizer(**SMALL).encode(images)


@pytest.fixture
def whole():
    return DALLETokenizer(**SMALL).eval()


@pytest.fixture
def encoder_alone(whole):
    model = DALLETokenizer(**SMALL).eval()
    model.load_state_dict(whole.encoder.state_dict(), strict=False)
    return model


def test_encoder_alone__has_ids_but_no_codes_and_no_images(whole, encoder_alone):
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(encoder_alone.encode(images), whole.encode(images))
    assert set(encoder_alone.predict(images)[0]) == {'ids', 'image', 'vocab_size'}
    for ask in (encoder_alone.code_vectors, lambda: encoder_alone.decode(whole.encode(images))):
        with pytest.raises(ValueError, match="encoder alone.*model.head.target='ids'"):
            ask()
    again = DALLETokenizer(**SMALL)  # by way of a checkpoint
    around = torch.nn.ModuleDict(dict(tokenizer=encoder_alone))
    state = {name.split('.', 1)[1]: value for name, value in get_state_dict(around).items()}
    again.load_state_dict(state, strict=False)
    assert not again.can_decode
    assert module_sha256(again, SMALL) == module_sha256(encoder_alone, SMALL)


@pytest.mark.parametrize('order', [('encoder', 'decoder'), ('decoder', 'encoder'), ('all',)])
def test_decoder__loaded_in_any_order(whole, encoder_alone, order):
    for part in order:
        state = whole.state_dict()
        state = {name: value for name, value in state.items() if part in (name[:7], 'all')}
        encoder_alone.load_state_dict(state, strict=False)
    images = torch.rand(2, 3, 16, 16)
    ids = encoder_alone.encode(images)
    assert torch.equal(encoder_alone.decode(ids), whole.decode(ids))
    assert torch.equal(encoder_alone.code_vectors(), whole.code_vectors())
    assert set(encoder_alone.state_dict()) == set(whole.state_dict())


def test_reset_dead_codes__moves_logits_and_codes_of_dead_ones_alone():
    model = DALLETokenizer(**SMALL, reset_dead_codes=dict(interval=1, min_tokens=1))
    tables = model.encoder.blocks.output.conv.weight, model.decoder.codebook
    before = [table.detach().clone() for table in tables]
    model.quantizer.dead_code_reset.counts[0] = torch.tensor([90, 10] + 30 * [0])
    model.quantizer.start_step(model.quantized_rows())
    tables = model.encoder.blocks.output.conv.weight, model.decoder.codebook
    for old, new in zip(before, tables, strict=True):
        moved = (old != new).flatten(1).any(1)
        assert moved.tolist() == 2 * [False] + 30 * [True]
        nearest = torch.cdist(new[2:].flatten(1), old[:2].flatten(1)).min(1).values
        assert nearest.max() < 0.1 * old.flatten(1).norm(dim=1).mean()


def test_decoder__trained_to_an_encoder(whole, encoder_alone):
    images = torch.rand(2, 3, 16, 16)
    encoder_alone.train().loss(images)
    assert set(encoder_alone.eval().predict(images)[0]) == {'image', 'ids', 'recon', 'vocab_size'}
    assert set(encoder_alone.state_dict()) == set(whole.state_dict())
