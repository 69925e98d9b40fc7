import pytest
import torch
import torch.nn as nn
from mmengine.registry import OPTIM_WRAPPERS

from beit_mm.engine import AutocastOptimWrapper
from beit_mm.engine.optim_wrappers.autocast_optim_wrapper import clip_above


def linear(weights=((1.0, 2.0, -1.0), (0.5, -2.0, 4.0))):
    """Small powers of two, so that half precision computes with it exactly."""
    layer = nn.Linear(3, 2, bias=False)
    layer.weight.data = torch.tensor(weights)
    return layer


def wrapper(model, lr=0.25, **options):
    return AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=lr), **options)


def step(model, optim, inputs, factor=1.0):
    with optim.optim_context(model):
        loss = (model(inputs).float() ** 2).mean() * factor
    optim.update_params(loss)
    return loss


def test_bfloat16_equals_autocast_by_hand():
    inputs = torch.randn(4, 3)
    model, other = linear(), linear()
    seen = []
    model.register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    optim = wrapper(model)
    for _ in range(3):
        step(model, optim, inputs)
        with torch.autocast('cpu', torch.bfloat16):
            loss = (other(inputs).float() ** 2).mean()
        loss.backward()
        with torch.no_grad():
            other.weight -= 0.25 * other.weight.grad
        other.weight.grad = None
    assert seen == [torch.bfloat16] * 3
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, other.weight)
    full = linear()
    for _ in range(3):
        (full(inputs) ** 2).mean().backward()
        full.weight.data -= 0.25 * full.weight.grad
        full.weight.grad = None
    assert not torch.equal(model.weight, full.weight)  # the precision is really another one


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_accumulation_equals_one_large_batch(dtype):
    inputs = torch.tensor([[1.0, 0, 2], [-1, 1, 0], [0.5, 2, 1], [0, -2, 1]])
    model, other = linear(), linear()
    optim = wrapper(model, dtype=dtype, accumulative_counts=2, init_scale=16.0)
    optim.initialize_count_status(model, 0, 2)
    step(model, optim, inputs[:2])
    assert torch.equal(model.weight, other.weight)  # not yet
    step(model, optim, inputs[2:])
    step(other, wrapper(other, dtype=dtype, init_scale=16.0), inputs)
    assert torch.equal(model.weight, other.weight)
    assert not torch.equal(model.weight, linear().weight)


@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1.0)])
def test_float16_overflow_leaves_the_step_out(clip_grad):
    inputs = torch.tensor([[1.0, 0, 2]])
    model, other = linear(), linear()
    optim = wrapper(model, dtype='float16', init_scale=2.0**16, clip_grad=clip_grad)
    step(model, optim, inputs, factor=1e36)
    assert torch.equal(model.weight, other.weight)
    assert optim.loss_scaler.get_scale() == 2.0**15
    step(model, optim, inputs, factor=1e-3)  # the next one counts, without the scale
    (1e-3 * (other(inputs) ** 2).mean()).backward()
    torch.testing.assert_close(model.weight, other.weight - 0.25 * other.weight.grad)
    assert not torch.equal(model.weight, other.weight)


def test_clip_grad_sees_gradients_without_the_scale():
    inputs = torch.tensor([[1.0, 0, 2]])
    model, other = linear(), linear()
    step(
        model,
        wrapper(model, dtype='float16', init_scale=2.0**10, clip_grad=dict(max_norm=0.5)),
        inputs,
    )
    (other(inputs) ** 2).mean().backward()
    grad = other.weight.grad
    assert grad.norm() > 0.5
    torch.testing.assert_close(
        model.weight, other.weight - 0.25 * 0.5 * grad / grad.norm(), rtol=1e-5, atol=1e-6
    )


def test_state_of_the_loss_scale_survives_a_checkpoint():
    inputs = torch.tensor([[1.0, 0, 2]])
    model = linear()
    optim = wrapper(model, dtype='float16', init_scale=2.0**10)
    step(model, optim, inputs, factor=1e36)
    step(model, optim, inputs)
    other = linear()
    resumed = wrapper(other, dtype='float16', lr=9.0)
    resumed.load_state_dict(optim.state_dict())
    assert resumed.loss_scaler.state_dict() == optim.loss_scaler.state_dict()
    assert resumed.loss_scaler.get_scale() == 2.0**9
    assert resumed.optimizer.param_groups[0]['lr'] == 0.25


@pytest.mark.parametrize('source, target', [('bfloat16', 'float16'), ('float16', 'bfloat16')])
def test_a_checkpoint_of_the_other_precision_goes_on(source, target):
    model, other = linear(), linear()
    optim = wrapper(model, dtype=source, init_scale=16.0)
    step(model, optim, torch.ones(1, 3))
    resumed = wrapper(other, dtype=target, init_scale=16.0)
    resumed.load_state_dict(optim.state_dict())
    step(other, resumed, torch.ones(1, 3))
    assert not torch.equal(other.weight, linear().weight)


def test_it_is_built_by_name_and_refuses_other_types():
    optimizer = torch.optim.SGD(linear().parameters(), lr=0.1)
    config = dict(type='beit_mm.AutocastOptimWrapper', optimizer=optimizer)
    assert isinstance(OPTIM_WRAPPERS.build(config), AutocastOptimWrapper)
    with pytest.raises(ValueError, match=r"optim_wrapper.dtype='fp16'.*'bfloat16', 'float16'"):
        OPTIM_WRAPPERS.build(dict(config, dtype='fp16'))


@pytest.mark.parametrize('norm_type', [2.0, 1.0, float('inf')])
@pytest.mark.parametrize('max_norm', [0.01, 1.0, 5.0, 100.0])
@pytest.mark.parametrize('value', [1.0, 0.0, float('nan'), float('inf')])
def test_clipping__equals_that_of_torch(norm_type, max_norm, value):
    torch.manual_seed(0)
    gradients = [torch.randn(3, 4), torch.randn(5), torch.tensor([value])]
    sides = []
    for clip in (clip_above, torch.nn.utils.clip_grad_norm_):
        parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        norm = clip([*parameters, nn.Parameter(torch.zeros(2))], max_norm, norm_type)
        sides.append([norm, *(parameter.grad for parameter in parameters)])
    for ours, expected in zip(*sides, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)


def test_gradients_within_the_norm__are_not_written():
    model, inputs = linear(), torch.tensor([[1.0, 0, 2]])
    optim = wrapper(model, clip_grad=dict(max_norm=1e6))
    with optim.optim_context(model):
        optim.backward(model(inputs).sum())
    before = model.weight.grad._version
    optim.step()
    assert model.weight.grad._version == before
