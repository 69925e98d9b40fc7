import pytest
import torch
from small_runs import small_run, told, train

from beit_mm.engine import UnhealthyTrainingError, UpdateGuardHook
from beit_mm.engine.guards import zero_gradients

GUARD = dict(type='beit_mm.UpdateGuardHook', interval=20)


def model(broken=''):
    return dict(type='PointClassifier', broken=broken)


@pytest.mark.parametrize('broken', ['unused', 'detached', 'dead'])
def test_branch_without_gradient__is_named_once(broken, tmp_path):
    (message,) = told(train(tmp_path, GUARD, model=model(broken)))
    assert 'Step 20: the gradient of b (2 tensors) was zero' in message
    assert 'detach()' in message and 'head' not in message.split('Look')[0]


def test_no_gradient_at_all__is_said_so(tmp_path):
    (message,) = told(train(tmp_path, GUARD, model=model('detached loss')))
    assert 'the gradient of all 6 weight tensors was zero' in message


@pytest.mark.parametrize('broken', ['', 'sometimes', 'scale'])
def test_gradients_that_are_there_at_times__are_healthy(broken, tmp_path):
    """A branch that is dropped in some steps, and one that starts with a LayerScale of 0."""
    for interval in (1, 20):
        run = train(tmp_path / str(interval), dict(GUARD, interval=interval), model=model(broken))
        assert told(run) == []


def test_accumulation__updates_are_looked_at(tmp_path, monkeypatch):
    """Steps between them would show the gradients of a part, and none right after an update."""
    optim = dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=3)
    seen = []
    run = small_run(tmp_path, GUARD, steps=120, model=model('unused'), optim_wrapper=optim)
    sample = zero_gradients.ZeroGradients._sample

    def noted(self, runner, *args):
        seen.append(runner.iter)
        return sample(self, runner, *args)

    monkeypatch.setattr(zero_gradients.ZeroGradients, '_sample', noted)
    run.train()
    assert seen == list(range(2, 120, 3))
    (message,) = told(run)
    assert 'Step 40: ' in message  # ten updates are 30 iterations


@pytest.mark.parametrize('fused', [False, True])
def test_half_precision__scaled_gradients_and_overflows(tmp_path, fused):
    """The first steps overflow and are left out; what is zero without scale is zero with it."""
    optim = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**30)
    optim['optimizer'] = dict(type='SGD', lr=0.01, fused=fused)
    (message,) = told(train(tmp_path, GUARD, model=model('unused'), optim_wrapper=optim))
    assert 'the gradient of b (2 tensors)' in message


def test_batches_that_are_left_out__are_not_looked_at(tmp_path, monkeypatch):
    """A gradient of NaN differs from 0, and would hide a branch that has none."""
    run = small_run(
        tmp_path,
        [dict(type='beit_mm.NonFiniteGuardHook', max_in_a_row=9), dict(GUARD, interval=10)],
        steps=40,
        model=model('dead'),
    )
    forward = run.model.forward

    def poisoned(*args, **kwargs):
        out = forward(*args, **kwargs)
        if run.model.count % 4 == 2:
            out['loss'] = out['loss'] + run.model.b.weight.sum() * float('nan')
        return out

    monkeypatch.setattr(run.model, 'forward', poisoned)
    run.train()
    (message,) = told(run)
    assert 'the gradient of b (2 tensors)' in message


def test_frozen_on_purpose__is_not_told(tmp_path):
    run = small_run(tmp_path / 'frozen', GUARD, model=model('unused'))
    run.model.b.requires_grad_(False)
    run.train()
    assert told(run) == []
    paramwise = dict(custom_keys=dict(b=dict(lr_mult=0.0)))
    optim = dict(optimizer=dict(type='SGD', lr=0.01), paramwise_cfg=paramwise)
    (message,) = told(train(tmp_path / 'rate', GUARD, model=model('unused'), optim_wrapper=optim))
    assert 'gradient' not in message  # but the rate of 0 is told


def test_ignore__modules_and_parameters_by_name(tmp_path):
    """``b`` is no beginning of ``body``; names that the model hasn't got don't matter."""
    for ignore, found in ((['b', 'mask_token'], ''), (['b.weight'], 'b.bias'), (['he'], 'b (2 ')):
        guard = dict(GUARD, ignore=ignore)
        messages = told(train(tmp_path / ignore[0], guard, steps=20, model=model('unused')))
        assert len(messages) == bool(found)
        assert all(f'the gradient of {found}' in message for message in messages)
    with pytest.raises(ValueError, match="UpdateGuardHook.ignore='b'"):
        UpdateGuardHook(ignore='b')


def test_other_updates__are_not_read(tmp_path, monkeypatch):
    run, read = small_run(tmp_path, dict(GUARD, interval=50), steps=50), []
    look = zero_gradients._is_any
    monkeypatch.setattr(zero_gradients, '_is_any', lambda g: read.append(run.iter + 1) or look(g))
    run.train()
    assert sorted(set(read)) == list(range(1, 51, 5))
    assert len(read) == 10 * 6  # tensors


def test_comes_back__is_told_again(tmp_path):
    run = small_run(tmp_path, dict(GUARD, interval=10), steps=120)
    step = run.model.train_step

    def changing(*args, **kwargs):
        run.model.broken = 'unused' if run.iter < 30 or run.iter >= 90 else ''
        return step(*args, **kwargs)

    run.model.train_step = changing
    run.train()
    assert [message.split('Step ')[1].split(':')[0] for message in told(run)] == ['10', '100']


def test_stop(tmp_path):
    with pytest.raises(UnhealthyTrainingError, match=r'Step 20: the gradient of b \(2 tensors\)'):
        train(tmp_path, dict(GUARD, action='stop'), model=model('unused'))


def test_training__is_not_changed_by_looking(tmp_path):
    weights = []
    for name, guard in (('with', GUARD), ('without', None)):
        run = train(tmp_path / name, guard)
        weights.append([p.detach() for p in run.model.parameters()])
        assert run.optim_wrapper.optimizer._optimizer_step_pre_hooks == {}
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(
    'wrong, message', [(dict(action='pray'), "action='pray'"), (dict(interval=0), 'interval=0')]
)
def test_arguments__named_in_errors(wrong, message):
    with pytest.raises(ValueError, match=f'UpdateGuardHook.{message}'):
        UpdateGuardHook(**wrong)


@pytest.mark.parametrize('there', [False, True])
def test_gradients__that_another_process_has(there, tmp_path, monkeypatch):
    """And it has looked ten times as well, or nobody judges."""

    def with_another(mine, how):
        nonzero, looked = mine.chunk(2)
        other = torch.cat([torch.full_like(nonzero, there), looked])
        return torch.maximum(mine, other) if how == 'max' else mine + other

    monkeypatch.setattr(zero_gradients, 'over_processes', with_another)
    messages = told(train(tmp_path, GUARD, model=model('unused')))
    assert ['Step 20: ' in message for message in messages] == [True] * (not there)


def test_looks__are_the_fewest_of_all_processes(tmp_path, monkeypatch):
    def with_another(mine, how):
        nonzero, looked = mine.chunk(2)
        other = torch.cat([nonzero, looked + 1])  # one look less
        return torch.maximum(mine, other) if how == 'max' else mine + other

    monkeypatch.setattr(zero_gradients, 'over_processes', with_another)
    run = train(tmp_path, dict(GUARD, interval=10), steps=20, model=model('unused'))
    (message,) = told(run)
    assert 'Step 20: ' in message  # ten of its own by step 10, nine of the other's


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_is_any__sees_values_whose_squares_are_zero(dtype):
    smallest = torch.finfo(dtype).smallest_normal
    for value in (smallest, -smallest, 1.0, float('nan'), float('inf')):
        gradient = torch.zeros(3, 40, dtype=dtype)
        assert not zero_gradients._is_any(gradient)
        gradient[1, 7] = value
        assert zero_gradients._is_any(gradient)
        assert zero_gradients._is_any(gradient.to_sparse())
