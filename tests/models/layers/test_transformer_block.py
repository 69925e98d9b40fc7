import pytest
import torch
import torch.nn.functional as F

from beit_mm.models.layers import transformer_block
from beit_mm.models.layers.transformer_block import (
    MLP,
    Attention,
    DropPath,
    TransformerBlock,
    attend,
)


@pytest.fixture(autouse=True)
def fast_halves(monkeypatch):
    """Test the steps of attention on any CPU."""
    halves = frozenset({torch.bfloat16, torch.float16})
    monkeypatch.setattr(transformer_block, 'FAST_HALVES', halves)


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.4)
    return module


def naive_attention(layer, x, bias):
    """Attention one image, one head and one query at a time."""
    dims = x.shape[-1]
    size = dims // layer.num_heads
    wq, wk, wv = layer.qkv.weight.split(dims)
    out = torch.zeros_like(x)
    for b, tokens in enumerate(x):
        q, k, v = tokens @ wq.T, tokens @ wk.T, tokens @ wv.T
        if layer.q_bias is not None:
            q, v = q + layer.q_bias, v + layer.v_bias
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(len(tokens)):
                logits = k[:, part] @ q[i, part] / size**0.5
                if bias is not None:
                    logits = logits + bias[0, head, i]
                weights = logits.exp() / logits.exp().sum()
                out[b, i, part] = weights @ v[:, part]
    return out @ layer.proj.weight.T + layer.proj.bias


@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('with_bias', [True, False])
def test_attention__equals_naive_softmax(qkv_bias, with_bias):
    layer = randomised(Attention(12, num_heads=3, qkv_bias=qkv_bias))
    x = torch.randn(2, 5, 12)
    bias = torch.randn(1, 3, 5, 5, requires_grad=True) if with_bias else None
    out, expected = layer(x, bias), naive_attention(layer, x, bias)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    inputs = [*layer.parameters(), *([bias] if with_bias else [])]
    weight = torch.randn_like(out)
    ours = torch.autograd.grad((out * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_attention__has_no_bias_of_keys():
    names = {name for name, _ in Attention(8, 2).named_parameters()}
    assert names == {'qkv.weight', 'q_bias', 'v_bias', 'proj.weight', 'proj.bias'}
    without = {name for name, _ in Attention(8, 2, qkv_bias=False).named_parameters()}
    assert names - without == {'q_bias', 'v_bias'}


def test_attention__bias_of_one_query_moves_that_query_alone():
    layer = randomised(Attention(8, 2))
    x, bias = torch.randn(2, 4, 8), torch.zeros(1, 2, 4, 4)
    before = layer(x, bias)
    bias[0, :, 1, 3] = 5.0
    moved = (layer(x, bias) - before).abs().amax((0, 2))
    assert moved[1] > 1e-3
    assert moved[[0, 2, 3]].max() < 1e-6


def test_attention__accepts_a_float_bias_under_autocast():
    layer = randomised(Attention(8, 2))
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(torch.randn(2, 4, 8), torch.randn(1, 2, 4, 4))
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def attended(function, tensors, dtype, **kwargs):
    """Return the output and the gradients of q, k, v and, where there is one, the bias."""
    tensors = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    q, k, v, *bias = tensors
    out = function(q, k, v, bias[0] if bias else None, **kwargs)
    weight = torch.linspace(-1, 1, out.numel()).view_as(out).to(dtype)
    return [out, *torch.autograd.grad(out, tensors, weight)]


@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_attend__half_precision_on_a_cpu_equals_the_kernel(dtype, with_bias):
    """Logits and weights are rounded to 8 (11) bits, so that values differ by some 2^-8 (2^-11)."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 29, 16)] * 3 + [(1, 3, 29, 29)] * with_bias
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    wanted = attended(F.scaled_dot_product_attention, tensors, torch.float64)
    with pytest.MonkeyPatch.context() as patch:  # the kernel is not called
        patch.delattr(F, 'scaled_dot_product_attention')
        found = attended(attend, tensors, dtype)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        error = (a.double() - b).norm() / b.norm()
        assert error < 4 * torch.finfo(dtype).eps


def test_attend__float32_and_inference_are_those_of_the_kernel_bit_by_bit():
    tensors = [torch.randn(2, 3, 9, 8) for _ in range(3)] + [torch.randn(1, 3, 9, 9)]
    for a, b in zip(
        attended(attend, tensors, torch.float32),
        attended(F.scaled_dot_product_attention, tensors, torch.float32),
        strict=True,
    ):
        assert torch.equal(a, b)
    half = [tensor.bfloat16() for tensor in tensors]
    with torch.no_grad():
        assert torch.equal(attend(*half), F.scaled_dot_product_attention(*half))


def test_attend__dropout_of_the_weights_keeps_their_mean():
    q, k = torch.randn(2, 1, 1, 400, 8).bfloat16()
    torch.manual_seed(0)
    out = attend(q.requires_grad_(), k, torch.ones_like(k), None, 0.5).float()
    assert out[0, 0, :, 0].std() > 0.02  # what is left of the weights of each query
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_mlp__formula_and_dropout_after_the_last_layer_only():
    mlp = randomised(MLP(6, 24, drop=0.5)).eval()
    x = torch.randn(3, 5, 6)
    expected = F.gelu(x @ mlp.fc1.weight.T + mlp.fc1.bias) @ mlp.fc2.weight.T + mlp.fc2.bias
    torch.testing.assert_close(mlp(x), expected)
    out = mlp.train()(x)
    kept = out != 0
    assert 0.2 < kept.float().mean() < 0.8
    torch.testing.assert_close(out[kept], 2 * expected[kept])


def test_block__is_pre_norm_with_scaled_branches():
    block = randomised(TransformerBlock(8, 2)).eval()
    x, bias = torch.randn(2, 4, 8), torch.randn(1, 2, 4, 4)

    def norm(module, x):
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return x * module.weight + module.bias

    middle = x + block.gamma_1 * naive_attention(block.attn, norm(block.norm1, x), bias)
    expected = middle + block.gamma_2 * block.mlp(norm(block.norm2, middle))
    torch.testing.assert_close(block(x, bias), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('init', [0.1, 1e-5])
def test_layer_scale__is_linear_in_gamma(init):
    block = TransformerBlock(8, 2, layer_scale_init=init)
    assert block.gamma_1.eq(init).all() and block.gamma_2.eq(init).all()
    assert block.gamma_1.shape == (8,)
    with torch.no_grad():
        block.gamma_2.zero_()
        x = torch.randn(2, 4, 8)
        branch = block(x) - x
        block.gamma_1.mul_(3)
        torch.testing.assert_close(block(x) - x, 3 * branch, atol=1e-6, rtol=1e-2)
        block.gamma_1.zero_()
        assert torch.equal(block(x), x)


@pytest.mark.parametrize('none', [None, 0, 0.0])
def test_layer_scale__none(none):
    block = TransformerBlock(8, 2, layer_scale_init=none)
    assert not any('gamma' in name for name, _ in block.named_parameters())
    x = torch.randn(2, 4, 8)
    middle = x + block.attn(block.norm1(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm2(middle)))


@pytest.mark.parametrize('rate', [0.1, 0.6])
def test_drop_path__whole_samples_with_the_mean_kept(rate):
    layer = DropPath(rate).train()
    out = layer(torch.ones(20000, 2, 3))
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    values = out[:, 0, 0].unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / (1 - rate)]))
    deviation = (rate / (1 - rate) / len(out)) ** 0.5
    assert out[:, 0, 0].mean().item() == pytest.approx(1, abs=4 * deviation)


def test_drop_path__branches_of_a_block_fall_independently():
    block = TransformerBlock(8, 2, drop_path=0.5, layer_scale_init=None).train()
    with torch.no_grad():
        for value, linear in ((1.0, block.attn.proj), (10.0, block.mlp.fc2)):
            linear.weight.zero_()
            linear.bias.fill_(value)
    added = block(torch.zeros(8000, 1, 8))[:, 0, 0]
    shares = [(added == value).float().mean().item() for value in (0.0, 2.0, 20.0, 22.0)]
    assert shares == pytest.approx([0.25] * 4, abs=0.02)


@pytest.mark.parametrize('layer', [DropPath(0.0).train(), DropPath(0.9).eval()])
def test_drop_path__does_nothing_at_rate_0_and_in_eval_mode(layer):
    x = torch.randn(50, 2)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize('rate', [1.0, -0.1])
def test_drop_path__refuses_rates_that_leave_nothing(rate):
    with pytest.raises(ValueError, match=f'drop_path={rate}'):
        DropPath(rate)
