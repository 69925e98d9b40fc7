"""A run that was cut off and resumed is the run that wasn't, bit by bit."""

import copy
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from same_training import Killed, assert_same, chaos_resume, train
from tiny_training import TinyMetric, TinyModel, TinyNoise, tiny_config

pytestmark = pytest.mark.slow

ACCUMULATED = dict(
    optimizer=dict(type='AdamW', lr=0.01), accumulative_counts=4, clip_grad=dict(max_norm=1.0)
)
HALF = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**20)
HALF.update(optimizer=dict(type='AdamW', lr=0.01))
CASES = {
    # kind, steps, changes
    'iter': ('Iter', 14, {}),
    'iter_workers': ('Iter', 14, dict(workers=2)),
    'iter_persistent': ('Iter', 14, dict(workers=2, persistent=True)),
    'iter_accumulation': ('Iter', 14, dict(optim_wrapper=ACCUMULATED)),
    'iter_no_seed': ('Iter', 14, dict(randomness=dict(seed=None))),
    'iter_float16': ('Iter', 14, dict(optim_wrapper=HALF)),
    'iter_background': ('Iter', 14, dict(background=True)),
    'epoch': ('Epoch', 3, {}),
    'epoch_persistent': ('Epoch', 3, dict(workers=2, persistent=True)),
    'epoch_accumulation': ('Epoch', 3, dict(optim_wrapper=ACCUMULATED)),
}


@pytest.mark.parametrize('case', CASES)
def test_resume__bit_identical(case, tmp_path):
    kind, steps, changes = CASES[case]
    # two kills, the second one before the next checkpoint or in another epoch
    if case == 'iter_no_seed':
        chaos = tiny_config(tmp_path / 'chaos', kind, steps, **changes)
        seed = train(chaos, kill_before=8).seed
        calm = tiny_config(tmp_path / 'calm', kind, steps, randomness=dict(seed=seed))
        train(calm)
    else:
        calm = tiny_config(tmp_path / 'calm', kind, steps, **changes)
        chaos = tiny_config(tmp_path / 'chaos', kind, steps, **changes)
        train(calm)
        train(chaos, kill_before=8)
    train(chaos, kill_before=10, resume=True)
    train(chaos, resume=True)
    assert_same(tmp_path / 'calm', tmp_path / 'chaos')


def test_resume__at_every_step(tmp_path):
    """Wherever the checkpoint falls in an epoch of six steps, and whatever follows."""
    calm = tiny_config(tmp_path / 'calm', 'Epoch', 2, every=1)
    train(calm)
    for step in range(1, 12):
        name = f'{tmp_path}/chaos{step}'
        chaos = tiny_config(name, 'Epoch', 2, every=1)
        shutil.copytree(tmp_path / 'calm', name)
        Path(name, 'last_checkpoint').write_text(f'iter_{step}.pth')  # killed right after it
        runner = train(chaos, resume=True)
        assert len(runner.model.seen) == 12 - step  # no step is made twice
        assert_same(tmp_path / 'calm', Path(name))


def test_resume__steps_see_what_they_would_have_seen(tmp_path):
    calm = train(tiny_config(tmp_path / 'calm', workers=2)).model
    assert len({tuple(batch) for batch in calm.seen}) == 12
    noise = torch.cat(calm.noise)
    assert len(noise.unique()) == noise.numel()  # no augmentation twice
    chaos = tiny_config(tmp_path / 'chaos', workers=1)
    first = train(chaos, kill_before=8).model
    second = train(chaos, resume=True).model
    assert first.seen[:6] + second.seen == calm.seen
    assert torch.equal(torch.stack(first.noise[:6] + second.noise), torch.stack(calm.noise))


def test_resume__another_batch_size_goes_on_at_the_same_sample(tmp_path):
    calm = train(tiny_config(tmp_path / 'calm', steps=22)).model.seen
    chaos = tiny_config(tmp_path / 'chaos', steps=22)
    train(chaos, kill_before=6)
    chaos['train_dataloader']['batch_size'] = 2
    second = train(chaos, resume=True).model.seen
    flat = [index for batch in calm for index in batch]
    assert [index for batch in second for index in batch] == flat[24 : 24 + 32]
    # and once more: the position is kept, not counted from the iterations
    shutil.copy(tmp_path / 'chaos/iter_12.pth', tmp_path / 'twelve.pth')
    chaos['load_from'] = str(tmp_path / 'twelve.pth')
    assert train(chaos, resume=True).model.seen[0] == flat[36:38]


@pytest.mark.parametrize(
    'change', [dict(batch_size=2), dict(dataset=dict(type='TinyDataset', size=30))]
)
def test_resume__an_epoch_of_another_length_is_refused_in_words(change, tmp_path):
    config = tiny_config(tmp_path, 'Epoch', 3)
    train(config, kill_before=4)
    config['train_dataloader'].update(change)
    with pytest.raises(ValueError, match='Cannot resume at iteration 3.*was .* and is .*load_from'):
        train(config, resume=True)


@pytest.mark.parametrize('kind', ['Iter', 'Epoch'])
def test_resume__a_validation_that_was_cut_off_is_made(kind, tmp_path, monkeypatch):
    steps, due = dict(Iter=(8, 4), Epoch=(2, 6))[kind]  # an epoch has 6 iterations
    config = tiny_config(tmp_path, kind, steps, every=4)
    if kind == 'Epoch':
        config['default_hooks']['checkpoint'].update(by_epoch=True, interval=1)
    with monkeypatch.context() as patch:
        patch.setattr(TinyMetric, 'compute_metrics', lambda *args: (_ for _ in ()).throw(Killed()))
        train(config)
    assert [line['kind'] for line in chaos_resume.read_curve(tmp_path)] == ['train'] * due
    train(config, resume=True)
    kinds = [(line['kind'], line['iter']) for line in chaos_resume.read_curve(tmp_path)]
    first, second = range(1, due + 1), range(due + 1, 2 * due + 1)
    assert kinds == [*(('train', i) for i in first), ('val', due)] + [
        *(('train', i) for i in second),
        ('val', 2 * due),
    ]


def test_steps__each_draws_numbers_of_its_own(tmp_path, monkeypatch):
    """Dropout and drop path are not the same in every step."""
    drawn, forward = [], TinyModel.forward

    def noted(self, *args, mode='loss', **kwargs):
        if mode == 'loss':
            drawn.append((torch.rand(()).item(), random.random(), np.random.rand()))
        return forward(self, *args, mode=mode, **kwargs)

    monkeypatch.setattr(TinyModel, 'forward', noted)
    train(tiny_config(tmp_path))
    for generator in zip(*drawn, strict=True):
        assert len(set(generator)) == len(drawn) == 12


def test_loop__names_the_sampler_that_it_needs(tmp_path):
    config = tiny_config(tmp_path)
    config['train_dataloader']['sampler'] = dict(type='InfiniteSampler')
    with pytest.raises(ValueError, match=r"sampler=dict\(type='beit_mm.ResumableSampler'"):
        train(config)


def test_loop__no_worker_and_a_timeout(tmp_path):
    config = tiny_config(tmp_path, steps=1)
    config['train_dataloader'].update(timeout=300, persistent_workers=True)
    train(config)


def test_hanging_worker__ends_the_run(tmp_path, monkeypatch):
    config = tiny_config(tmp_path, steps=8, workers=1)
    config['custom_hooks'].append(dict(type='beit_mm.WorkerTimeoutHook', seconds=1))
    monkeypatch.setattr(TinyNoise, '__call__', lambda self, results: time.sleep(30))
    with pytest.raises(RuntimeError, match='timed out after 1'):
        train(config)


def test_schedule_without_end__that_begins_after_a_short_run_is_left_out(tmp_path):
    late = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=5),
    ]
    given = [late[0], dict(late[1], end=40)]
    runs = {}
    for name, schedules in (('late', late), ('given', given)):
        config = tiny_config(tmp_path / name, steps=3, param_scheduler=copy.deepcopy(schedules))
        runs[name] = train(config)
    assert len(runs['late'].param_schedulers) == 1
    assert_equal = torch.testing.assert_close
    for one, other in zip(*(run.model.parameters() for run in runs.values()), strict=True):
        assert_equal(one, other, rtol=0, atol=0)
    whole = train(tiny_config(tmp_path / 'whole', steps=8, param_scheduler=copy.deepcopy(late)))
    assert [one.end for one in whole.param_schedulers] == [5, 8]
