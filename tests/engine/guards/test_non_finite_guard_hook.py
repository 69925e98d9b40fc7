import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_training import TinyModel, tiny_config
from torch.optim.optimizer import register_optimizer_step_pre_hook

from beit_mm.engine.guards import NonFiniteError

numbers = iter(range(10**6))


def train(tmp_path, poison=(), steps=12, guard=(), **changes) -> Runner:
    config = tiny_config(tmp_path, steps=steps, **changes)
    config['model'] = dict(type='TinyModel', poison=poison)
    ema, *_ = config['custom_hooks']
    config['custom_hooks'] = [ema, dict(type='beit_mm.NonFiniteGuardHook', **dict(guard))]
    runner = Runner(**Config(dict(config, experiment_name=f'guard{next(numbers)}')))
    runner.train()
    return runner


def entries(tmp_path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / 'non_finite_batches.jsonl').open()]


def assert_finite(value) -> None:
    if isinstance(value, torch.Tensor):
        assert value.isfinite().all()
    elif isinstance(value, dict):
        for item in value.values():
            assert_finite(item)


@pytest.mark.parametrize('half', [False, True])
def test_bad_batch__left_out_and_named(half, tmp_path):
    optim = dict(optimizer=dict(type='AdamW', lr=0.01))
    if half:
        optim.update(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=1.0)
    runner = train(tmp_path, poison=[3], optim_wrapper=optim)
    bad = [step for step, batch in enumerate(runner.model.seen, 1) if 3 in batch]
    assert len(bad) == 2
    assert [entry['iter'] for entry in entries(tmp_path)] == bad
    for entry in entries(tmp_path):
        assert entry['indices'] == runner.model.seen[entry['iter'] - 1]
        assert entry['files'] == [f'{index}.png' for index in entry['indices']]
        assert (entry['cause'], entry['loss']) == ('loss', 'nan')
    for path in tmp_path.glob('*.pth'):
        checkpoint = torch.load(path, weights_only=True)
        for key in ('state_dict', 'ema_state_dict', 'optimizer'):
            assert_finite(checkpoint[key])
    steps = {int(state['step']) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {10}  # of 12 iterations
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 10 and torch.tensor(losses).isfinite().all()
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert '3.png' in log and f'Iteration {bad[0]}: loss is not finite' in log


def test_bad_batch__the_others_train_as_if_it_had_not_been(tmp_path):
    """What is left out changes no weight."""
    runner = train(tmp_path, poison=[3], steps=6, every=1)
    bad = next(step for step, batch in enumerate(runner.model.seen, 1) if 3 in batch)
    before, after = (
        torch.load(tmp_path / f'iter_{step}.pth', weights_only=True) for step in (bad - 1, bad)
    )
    weights = [name for name in before['ema_state_dict'] if name.endswith(('weight', 'bias'))]
    for name in weights:
        assert torch.equal(before['ema_state_dict'][name], after['ema_state_dict'][name])


def test_accumulation__the_whole_update_is_left_out(tmp_path):
    optim = dict(optimizer=dict(type='AdamW', lr=0.01), accumulative_counts=4)
    runner = train(tmp_path, poison=[3], optim_wrapper=optim)
    bad = [step for step, batch in enumerate(runner.model.seen, 1) if 3 in batch]
    assert [entry['iter'] for entry in entries(tmp_path)] == bad  # these alone, not all four
    updates = {(step - 1) // 4 for step in bad}
    steps = {int(state['step']) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {3 - len(updates)}


class Trap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float('inf')


def trap(monkeypatch, step: int) -> None:
    """The gradient of ``step`` is infinite, its loss is not."""
    forward = TinyModel.forward

    def trapped(self, *args, mode='loss', **kwargs):
        out = forward(self, *args, mode=mode, **kwargs)
        if mode == 'loss' and len(self.seen) == step:
            out['loss'] = Trap.apply(out['loss'])
        return out

    monkeypatch.setattr(TinyModel, 'forward', trapped)


def test_bad_gradient__of_a_finite_loss(tmp_path, monkeypatch):
    trap(monkeypatch, 5)
    runner = train(tmp_path)
    (entry,) = entries(tmp_path)
    assert (entry['iter'], entry['cause']) == (5, 'gradient')
    assert_finite(runner.model.state_dict())


def test_large_gradient__whose_norm_overflows_is_no_bad_one(tmp_path, monkeypatch):
    forward = TinyModel.forward

    def scaled(self, *args, mode='tensor', **kwargs):
        out = forward(self, *args, mode=mode, **kwargs)
        return {name: value * 1e25 for name, value in out.items()} if mode == 'loss' else out

    norms = []

    def note(optimizer, args, kwargs):
        gradients = [p.grad for group in optimizer.param_groups for p in group['params']]
        norms.append([torch.nn.utils.get_total_norm(gradients, n).item() for n in (2, math.inf)])

    monkeypatch.setattr(TinyModel, 'forward', scaled)
    handle = register_optimizer_step_pre_hook(note)
    train(tmp_path, steps=3, optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-30)))
    handle.remove()
    assert len(norms) == 3  # no update was left out
    assert all(norm == math.inf and largest < math.inf for norm, largest in norms)


def test_overflow__at_a_scale_that_cannot_be_the_cause(tmp_path, monkeypatch):
    trap(monkeypatch, 5)
    optim = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**-15)
    optim['optimizer'] = dict(type='AdamW', lr=0.01)
    with pytest.raises(NonFiniteError, match='Iteration 5: gradients overflow at a loss scale of'):
        train(tmp_path, optim_wrapper=optim)


def test_overflow__is_the_scalers_affair(tmp_path):
    optim = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**40)
    optim.update(optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=1.0))
    runner = train(tmp_path, steps=40, optim_wrapper=optim, guard=dict(max_in_a_row=1))
    assert runner.optim_wrapper.loss_scaler.get_scale() < 2.0**35
    assert not (tmp_path / 'non_finite_batches.jsonl').exists()
    norms = torch.tensor(runner.message_hub.get_scalar('train/grad_norm').data[0])
    assert 0 < len(norms) < 40 and norms.isfinite().all()  # of the steps that were made
    assert runner.optim_wrapper.clip_grad_kwargs == dict(max_norm=1.0)


@pytest.mark.parametrize(
    ('guard', 'stop'), [(dict(max_in_a_row=3), 3), (dict(max_in_a_row=9, max_in_window=4), 4)]
)
def test_too_many__stop_with_the_last_checkpoint_intact(guard, stop, tmp_path):
    with pytest.raises(NonFiniteError, match=f'Iteration {stop}: .*non_finite_batches.jsonl'):
        train(tmp_path, poison=range(30), guard=guard, every=1)
    last = torch.load(tmp_path / (tmp_path / 'last_checkpoint').read_text(), weights_only=True)
    assert_finite(last['state_dict'])
    assert last['meta']['iter'] == stop - 1


def test_window__forgets_what_was_before_it(tmp_path):
    train(tmp_path / 'a', poison=[3], guard=dict(max_in_window=2, window=3))
    first, second = (entry['iter'] for entry in entries(tmp_path / 'a'))
    assert second - first > 3
    with pytest.raises(NonFiniteError, match=f'Iteration {second}'):
        train(tmp_path / 'b', poison=[3], guard=dict(max_in_window=2, window=12))


def test_row__counts_across_a_resume(tmp_path):
    train(tmp_path, poison=range(30), guard=dict(max_in_a_row=4), every=1, steps=3)
    with pytest.raises(NonFiniteError, match='Iteration 4'):
        train(tmp_path, poison=range(30), guard=dict(max_in_a_row=4), steps=9, resume=True)


def test_state__that_the_forward_pass_spoiled_stops_at_once(tmp_path, monkeypatch):
    from tiny_training import TinyNoise

    call = TinyNoise.__call__

    def spoiled(self, results):
        out = call(self, results)
        out['inputs'] = out['inputs'] * (float('nan') if results['value'] == 3 else 1.0)
        return out

    monkeypatch.setattr(TinyNoise, '__call__', spoiled)
    with pytest.raises(NonFiniteError, match='body.1.running_mean of the model is not finite'):
        train(tmp_path)


@pytest.mark.parametrize('key', ['state_dict', 'ema_state_dict'])
def test_weights__that_the_update_itself_spoiled_are_never_saved(key, tmp_path, monkeypatch):
    from beit_mm.engine.hooks import AtomicCheckpointHook

    save = AtomicCheckpointHook.before_save_checkpoint

    def spoiled(self, runner, checkpoint):
        if checkpoint['meta']['iter'] == 6:
            checkpoint[key]['head.weight'] = torch.tensor([[float('inf')] * 8])
        save(self, runner, checkpoint)

    monkeypatch.setattr(AtomicCheckpointHook, 'before_save_checkpoint', spoiled)
    with pytest.raises(NonFiniteError, match=f'Iteration 6: head.weight of {key} is not finite'):
        train(tmp_path)
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_3.pth')
    assert not (tmp_path / 'iter_6.pth').exists()


def test_record__full_disk_does_not_stop_the_training(tmp_path):
    (tmp_path / 'non_finite_batches.jsonl').mkdir()  # cannot be written
    runner = train(tmp_path, poison=[3])
    assert runner.iter == 12
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'Is a directory' in log and '3.png' in log


def test_schedules__find_their_own_mark(tmp_path):
    """MMEngine counts the calls of step(), and warns where it was replaced afterwards."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        runner = train(tmp_path, steps=3)
    assert [str(w.message) for w in caught if 'step()' in str(w.message)] == []
    assert runner.optim_wrapper._global_step == 2  # from -1: it counts, through the guard
