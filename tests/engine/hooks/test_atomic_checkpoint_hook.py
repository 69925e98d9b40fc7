import errno
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner, find_latest_checkpoint
from tiny_training import TinyMetric, tiny_config

from beit_mm.checkpoints.store import (
    NoUsableCheckpointError,
    atomic_local_backend,
    retired,
    saved_checkpoints,
)
from beit_mm.contracts import UserError
from beit_mm.engine.hooks import AtomicCheckpointHook
from beit_mm.engine.hooks import atomic_checkpoint_hook as module

numbers = iter(range(10**6))


def train(config: dict, **options) -> Runner:
    name = f'hook{next(numbers)}'
    runner = Runner(**Config(dict(config, experiment_name=name, **options)))
    runner.train()
    return runner


def config_of(tmp_path, steps=6, every=2, **hook):
    config = tiny_config(tmp_path / 'run', steps=steps, every=every)
    config['default_hooks']['checkpoint'].update(hook)
    config['custom_hooks'] = []
    return config


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / 'run').glob('*') if path.suffix == '.pth')


class Full:
    """The disk is full for the writes of files that ``match``."""

    def __init__(self, monkeypatch, match):
        real = atomic_local_backend.write_atomically
        self.kept = []

        def write(path, content):
            self.kept.append((Path(path).name, sorted(p.name for p in Path(path).parent.iterdir())))
            if match(Path(path).name):
                raise OSError(errno.ENOSPC, 'No space left on device')
            real(path, content)

        monkeypatch.setattr(atomic_local_backend, 'write_atomically', write)
        monkeypatch.setattr(saved_checkpoints, 'write_atomically', write)


@pytest.mark.parametrize('background', [False, True])
def test_rotation__saves_before_it_removes(background, tmp_path, monkeypatch):
    disk = Full(monkeypatch, lambda name: False)
    train(config_of(tmp_path, max_keep_ckpts=1, background=background))
    assert files(tmp_path) == ['iter_6.pth']
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(tmp_path / 'run/iter_6.pth')
    for name, there in disk.kept[2:]:  # while one is written, the one before it is there
        before = {'iter_4.pth': 'iter_2.pth', 'iter_6.pth': 'iter_4.pth'}
        assert before.get(name, 'iter_2.pth') in there or name == 'last_checkpoint'


@pytest.mark.parametrize('background', [False, True])
def test_full_disk__the_run_goes_on_and_the_earlier_one_stays(background, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        Full(patch, lambda name: name == 'iter_4.pth')
        train(config_of(tmp_path, max_keep_ckpts=1, background=background))
        assert files(tmp_path) == ['iter_6.pth']
    shutil.rmtree(tmp_path / 'run')
    Full(monkeypatch, lambda name: name in ('iter_4.pth', 'iter_6.pth'))
    with pytest.raises(UserError, match='No space left.*make room'):
        train(config_of(tmp_path, max_keep_ckpts=1, background=background))
    assert files(tmp_path) == ['iter_2.pth']
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(tmp_path / 'run/iter_2.pth')


def test_full_disk__stops_after_some_in_a_row(tmp_path, monkeypatch):
    Full(monkeypatch, lambda name: name != 'iter_1.pth' and name.endswith('pth'))
    with pytest.raises(UserError, match='2 of 2 in a row.*make room'):
        runner = train(config_of(tmp_path, every=1, max_failed_saves=2))
        assert runner.iter == 2
    assert files(tmp_path) == ['iter_1.pth']


def scores(monkeypatch, *values):
    values = iter(values)
    monkeypatch.setattr(TinyMetric, 'compute_metrics', lambda *args: dict(score=next(values)))


def test_best__replaced_after_the_new_one_is_there(tmp_path, monkeypatch):
    scores(monkeypatch, 1.0, 3.0, 2.0)
    disk = Full(monkeypatch, lambda name: False)
    config = config_of(tmp_path, every=2, save_best='score', rule='greater')
    config['train_cfg']['val_interval'] = 2
    train(config)
    assert [name for name in files(tmp_path) if 'best' in name] == ['best_score_iter_4.pth']
    written = [name for name, _ in disk.kept if name.endswith('pth')]
    assert len(written) == len(set(written))  # nothing is written twice
    there = dict(disk.kept)['best_score_iter_4.pth']
    assert 'best_score_iter_2.pth' in there
    best = torch.load(tmp_path / 'run/best_score_iter_4.pth', weights_only=True)
    assert 'state_dict' in best and 'optimizer' not in best


@pytest.mark.parametrize(('third', 'best'), [(2.0, 6), (0.5, 2)])
def test_best__of_those_that_can_be_written(third, best, tmp_path, monkeypatch):
    scores(monkeypatch, 1.0, 3.0, third)
    Full(monkeypatch, lambda name: name == 'best_score_iter_4.pth')
    config = config_of(tmp_path, save_best='score', rule='greater')
    config['train_cfg']['val_interval'] = 2
    there = []
    collect = module.AtomicCheckpointHook._save_best_checkpoint

    def noted(self, runner, metrics):
        collect(self, runner, metrics)
        there.append([name for name in files(tmp_path) if 'best' in name])

    monkeypatch.setattr(module.AtomicCheckpointHook, '_save_best_checkpoint', noted)
    train(config)
    two = ['best_score_iter_2.pth']
    assert there == [two, two, [f'best_score_iter_{best}.pth']]


def test_best__known_after_the_work_dir_moved(tmp_path, monkeypatch):
    scores(monkeypatch, 3.0, 1.0, 1.0, 9.0)
    config = config_of(tmp_path, steps=4, save_best='score', rule='greater')
    config['train_cfg']['val_interval'] = 2
    train(config)
    (tmp_path / 'run').rename(tmp_path / 'moved')
    config.update(work_dir=str(tmp_path / 'moved'), resume=True)
    config['train_cfg']['max_iters'] = 6
    runner = train(config)  # validates once more at 4, then at 6
    assert sorted(path.name for path in (tmp_path / 'moved').glob('best*')) == [
        'best_score_iter_6.pth'
    ]
    assert runner.iter == 6 and not (tmp_path / 'run').exists()


@pytest.mark.parametrize(('kind', 'ends'), [('Iter', (4, 8)), ('Epoch', (1, 2))])
@pytest.mark.parametrize('background', [False, True])
def test_best__known_after_a_resume_by_loops_of_mmengine(
    kind, ends, background, tmp_path, monkeypatch
):
    """They do not repeat the validation that follows the checkpoint."""
    scores(monkeypatch, 0.9, 0.7)
    config = config_of(tmp_path, save_best='score', rule='greater', background=background)
    key = 'max_iters' if kind == 'Iter' else 'max_epochs'
    config['train_cfg'] = dict(type=f'{kind}BasedTrainLoop', val_interval=ends[0])
    config['train_dataloader']['sampler'] = dict(type='DefaultSampler', shuffle=True)
    config['default_hooks']['checkpoint'].update(by_epoch=kind == 'Epoch', interval=ends[0])
    config['train_cfg'][key] = ends[0]
    train(config)
    config['train_cfg'][key] = ends[1]
    runner = train(config, resume=True)
    name = kind.lower()
    assert (runner.iter, runner.epoch)[kind == 'Epoch'] == ends[1]
    assert {p.name for p in (tmp_path / 'run').glob('best*')} == {
        f'best_score_{name}_{ends[0]}.pth'
    }
    assert runner.message_hub.get_info('best_score') == 0.9
    assert {f'{name}_{end}.pth' for end in ends} <= set(files(tmp_path))


@pytest.mark.parametrize('other', [Runner, FlexibleRunner])
def test_last_checkpoint__is_understood_by_mmengine(other, tmp_path):
    config = config_of(tmp_path, steps=4)
    train(config)
    found = find_latest_checkpoint(str(tmp_path / 'run'))
    assert found == str(tmp_path / 'run/iter_4.pth') and Path(found).is_file()
    config['default_hooks'] = dict(
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=2)
    )
    config['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=6)
    config['train_dataloader']['sampler'] = dict(type='InfiniteSampler')
    config.update(resume=True, experiment_name=f'hook{next(numbers)}')
    runner = other(**Config(config))
    runner.train()
    assert runner.iter == 6
    assert find_latest_checkpoint(str(tmp_path / 'run')) == str(tmp_path / 'run/iter_6.pth')


@pytest.mark.parametrize('move', [Path.rename, shutil.copytree])
def test_last_checkpoint__of_a_moved_and_of_a_copied_work_dir(move, tmp_path):
    """The copy goes on from its own file, though that of the original is still there."""
    config = config_of(tmp_path, steps=4)
    train(config)
    move(tmp_path / 'run', tmp_path / 'there')
    for file in (tmp_path / 'run').glob('*.pth'):
        file.write_bytes(b'from here on something else')
    config['train_cfg']['max_iters'] = 6
    runner = train(dict(config, work_dir=str(tmp_path / 'there')), resume=True)
    assert runner.iter == 6
    pointer = (tmp_path / 'there/last_checkpoint').read_text()
    assert pointer == str(tmp_path / 'there/iter_6.pth')


def test_resume__skips_broken_ones_and_says_which(tmp_path, caplog):
    config = config_of(tmp_path)
    train(config)
    broken = tmp_path / 'run/iter_6.pth'
    broken.write_bytes(broken.read_bytes()[:-100])
    (tmp_path / 'run/.iter_8.pth.77.tmp').write_bytes(b'left')
    runner = train(config, resume=True, log_level='INFO')
    assert len(runner.model.seen) == 2  # from iteration 4
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'iter_6.pth was skipped: it is cut off' in log
    assert 'Resuming from' in log and '.iter_8.pth.77.tmp' in log
    assert not list((tmp_path / 'run').glob('.*.tmp'))


def test_resume__from_a_checkpoint_that_is_removed_until_the_test(tmp_path):
    train(config_of(tmp_path, steps=2, max_keep_ckpts=1))
    config = config_of(tmp_path, max_keep_ckpts=1)
    names = ('dataloader', 'cfg', 'evaluator')
    config |= {f'test_{name}': config[f'val_{name}'] for name in names if f'val_{name}' in config}
    runner = train(config, resume=True)
    assert files(tmp_path) == ['iter_6.pth']
    assert runner.test()


def test_resume__nothing_usable_is_an_error(tmp_path):
    config = config_of(tmp_path, steps=2)
    train(config)
    (tmp_path / 'run/iter_2.pth').write_bytes(b'')
    with pytest.raises(NoUsableCheckpointError, match='iter_2.pth: it is empty'):
        train(config, resume=True)
    given = dict(load_from=str(tmp_path / 'run/iter_2.pth'))
    with pytest.raises(NoUsableCheckpointError, match='Cannot resume from'):
        train(config, resume=True, **given)


def test_resume__earlier_runs_without_a_checkpoint_are_mentioned(tmp_path):
    config = config_of(tmp_path, steps=2)
    (tmp_path / 'run/20200101_000000').mkdir(parents=True)
    runner = train(config, resume=True)
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'no checkpoint (earlier runs there: 20200101_000000): beginning at iteration 0' in log
    assert len(runner.model.seen) == 2


def test_resume__not_from_the_run_before_a_new_one(tmp_path):
    config = config_of(tmp_path, steps=4)
    train(config)
    old = {name: (tmp_path / 'run' / name).read_bytes() for name in files(tmp_path)}
    killed = dict(type='beit_mm.NonFiniteGuardHook', max_in_a_row=1)
    poison = dict(type='TinyModel', poison=range(22))
    with pytest.raises(Exception, match='in a row'):  # a new run, which ends before it saves
        train(config, custom_hooks=[killed], model=poison)
    assert {name: (tmp_path / 'run' / name).read_bytes() for name in files(tmp_path)} == old
    assert (tmp_path / 'run/last_checkpoint.old').read_text().endswith('/iter_4.pth')
    config['train_cfg']['max_iters'] = 3
    runner = train(config, resume=True)
    assert len(runner.model.seen) == 3
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'iter_2.pth, iter_4.pth' in log and 'of earlier runs' in log
    again = train(dict(config, train_cfg=dict(config['train_cfg'], max_iters=4)), resume=True)
    assert len(again.model.seen) == 1  # from its own iter_3
    assert (tmp_path / 'run/iter_4.pth').read_bytes() != old['iter_4.pth']
    assert retired(tmp_path / 'run') == set()  # each has been written anew


@pytest.mark.parametrize(
    'option, message',
    [(dict(intervall=1), "intervall.*'interval'"), (dict(foo=1), 'foo: expected some of .*rule')],
)
def test_options__unknown_ones_are_refused_at_once(option, message):
    with pytest.raises(ValueError, match=rf'AtomicCheckpointHook\.{message}'):
        AtomicCheckpointHook(by_epoch=False, **option)


def test_resume__without_its_ema_hook_is_refused(tmp_path):
    config = config_of(tmp_path, steps=2)
    train(config, custom_hooks=[dict(type='EMAHook')])
    with pytest.raises(ValueError, match='holds an EMA'):
        train(config, resume=True)


def test_file__plain_and_bounded(tmp_path):
    config = config_of(tmp_path, steps=9, every=9, max_history=5)
    runner = train(config)
    saved = torch.load(tmp_path / 'run/iter_9.pth', weights_only=True)  # nothing but plain values
    loss = saved['message_hub']['log_scalars']['train/loss']
    assert len(loss['values']) == len(loss['counts']) == 5
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 5
    config['train_cfg']['max_iters'] = 10
    again = train(config, resume=True)
    values = again.message_hub.get_scalar('train/loss').data[0]
    assert values[:4].tolist() == loss['values'][1:].tolist()


def test_scaler__round_trip(tmp_path):
    optim = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**30)
    optim['optimizer'] = dict(type='SGD', lr=1e-3)
    config = config_of(tmp_path, steps=4)
    scale = train(config, optim_wrapper=optim).optim_wrapper.loss_scaler.get_scale()
    assert scale < 2.0**30  # it has seen overflows
    again = train(config, optim_wrapper=dict(optim, init_scale=8.0), resume=True)
    assert again.optim_wrapper.loss_scaler.get_scale() == scale


def test_accumulation__saves_wait_for_an_update(tmp_path):
    optim = dict(optimizer=dict(type='SGD', lr=1e-3), accumulative_counts=4)
    train(config_of(tmp_path, steps=10, every=3), optim_wrapper=optim)
    assert files(tmp_path) == ['iter_10.pth', 'iter_4.pth', 'iter_8.pth']


def test_accumulation__an_epoch_is_saved_some_steps_later(tmp_path):
    config = tiny_config(tmp_path / 'run', 'Epoch', 2, custom_hooks=[])
    config['default_hooks']['checkpoint'] = dict(type='beit_mm.AtomicCheckpointHook', interval=1)
    optim = dict(optimizer=dict(type='SGD', lr=1e-3), accumulative_counts=4)
    train(config, optim_wrapper=optim)
    first = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=True)
    assert first['meta']['iter'] == 8 and first['meta']['epoch'] == 1  # epochs have 6 steps
    assert first['train_loop']['offset'] == 8


@pytest.mark.parametrize(
    'option', [dict(backend_args=dict(backend='petrel')), dict(out_dir='s3://x')]
)
def test_remote_storage__is_refused_in_words(option):
    with pytest.raises(ValueError, match="type='CheckpointHook'"):
        AtomicCheckpointHook(**option)


@pytest.mark.parametrize('first', [True, False])
def test_save_now__what_the_first_process_says_holds_for_all(first, tmp_path, monkeypatch):
    """One whose save failed writes again, and that needs all of them."""
    runner = train(config_of(tmp_path, steps=2))
    hook = next(hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook))
    runner.train_loop._iter = 1  # the moment after step 2, which is saved
    assert hook._saved_iter == 2
    monkeypatch.setattr(module, 'broadcast_object_list', lambda due: due.__setitem__(0, first))
    written = []
    monkeypatch.setattr(hook, '_save_checkpoint_with_step', lambda *args: written.append(args))
    hook.save_now(runner)
    assert len(written) == first
