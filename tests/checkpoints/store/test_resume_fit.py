"""A run goes on from what fits it, and says which settings of its config don't count."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from same_training import train
from tiny_training import TinyModel, tiny_config

from beit_mm.checkpoints.store import NoUsableCheckpointError


@MODELS.register_module(force=True)
class TinyWiderModel(TinyModel):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Linear(3, 1))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A checkpoint of iteration 3."""
    folder = tmp_path_factory.mktemp('whole')
    train(tiny_config(folder, steps=3))
    return folder / 'iter_3.pth'


def resume(folder, path, kind='Iter', **changes):
    config = tiny_config(folder, kind, steps=5, load_from=str(path))
    for key, value in changes.items():
        config[key] = value
    return train(config, resume=True)


def warnings_of(runner) -> str:
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    return '\n'.join(line for line in log.splitlines() if 'settings of the checkpoint' in line)


def test_same_config__no_word(whole, tmp_path):
    runner = resume(tmp_path, whole)
    assert runner.iter == 5 and not warnings_of(runner)


@pytest.mark.parametrize('part', ['optimizer', 'param_schedulers', 'message_hub', 'meta'])
def test_part_of_the_state_is_missing__named(part, whole, tmp_path):
    state = torch.load(whole, weights_only=True)
    del state[part]
    torch.save(state, tmp_path / 'less.pth')
    with pytest.raises(NoUsableCheckpointError, match=rf'it lacks {part}, .*load_from=.*less\.pth'):
        resume(tmp_path / 'run', tmp_path / 'less.pth')


@pytest.mark.parametrize(
    'part, value, told',
    [
        ('meta', [1], 'its meta is list'),
        ('state_dict', None, 'its state_dict is NoneType'),
        ('message_hub', 'x', 'its message_hub is str'),
        ('optimizer', [1], 'its optimizer is list'),
        ('train_loop', 'x', 'its train_loop is str'),
        ('classes', [2], 'its classes is list'),
        ('meta.iter', 'six', "its meta.iter is 'six'"),
        ('meta.iter', -5, 'its meta.iter is -5'),
        ('meta.epoch', 2.5, 'its meta.epoch is 2.5'),
        ('meta.seed', 2**80, 'its meta.seed is'),
    ],
)
def test_odd_values__named(part, value, told, whole, tmp_path):
    state = torch.load(whole, weights_only=True)
    *outer, name = part.split('.')
    (state[outer[0]] if outer else state)[name] = value
    torch.save(state, tmp_path / 'odd.pth')
    with pytest.raises(NoUsableCheckpointError, match=rf'{told}.*load_from=.*odd\.pth'):
        resume(tmp_path / 'run', tmp_path / 'odd.pth')


def test_weights_alone__no_beginning_with_an_optimizer_that_knows_nothing(whole, tmp_path):
    state = torch.load(whole, weights_only=True)
    torch.save(state['state_dict'], tmp_path / 'weights.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(NoUsableCheckpointError, match='lacks state_dict, meta.* resume=False'):
        resume(tmp_path / 'run', tmp_path / 'weights.pth')
    with pytest.raises(NoUsableCheckpointError, match='it holds a list'):
        resume(tmp_path / 'run', tmp_path / 'list.pth')


SCHEDULE = tiny_config('')['param_scheduler']


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(model=dict(type='TinyWiderModel')), r'head.0.weight of the model is missing there'),
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1))), 'is AdamW, here SGD'),
        (dict(optim_wrapper=dict(optimizer=dict(type='Adam', lr=1))), 'is AdamW, here Adam'),
        (dict(param_scheduler=SCHEDULE[:1]), 'LinearLR and CosineAnnealingLR, here LinearLR'),
        (dict(param_scheduler=None), 'LinearLR and CosineAnnealingLR, here none'),
        (
            dict(param_scheduler=[SCHEDULE[0], dict(type='PolyLR', by_epoch=False, end=9)]),
            'here LinearLR and PolyLR',
        ),
        (dict(kind='Epoch'), 'is ResumableIterLoop, here ResumableEpochLoop'),
        (
            dict(
                optim_wrapper=dict(
                    optimizer=dict(type='AdamW', lr=0.01),
                    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=0.1)}),
                )
            ),
            'groups of',
        ),
    ],
)
def test_another_model_optimizer_schedule_or_loop__refused(changes, words, whole, tmp_path):
    with pytest.raises(NoUsableCheckpointError, match=words):
        resume(tmp_path, whole, **changes)


def test_another_shape__refused(whole, tmp_path):
    state = torch.load(whole, weights_only=True)
    state['state_dict']['head.weight'] = torch.ones(1, 9)
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(NoUsableCheckpointError, match=r'head.weight .* \(1, 9\) there and \(1, 8'):
        resume(tmp_path / 'run', tmp_path / 'other.pth')


def test_other_settings__the_log_says_that_they_do_not_count(whole, tmp_path):
    longer = [SCHEDULE[0], dict(SCHEDULE[1], end=90)]
    optim = dict(optimizer=dict(type='AdamW', lr=0.5, weight_decay=0.3))
    runner = resume(tmp_path, whole, param_scheduler=longer, optim_wrapper=optim)
    told = warnings_of(runner)
    assert 'param_scheduler[1].end=40 (here 90)' in told
    assert 'optim_wrapper.optimizer.weight_decay=0.01 (here 0.3)' in told
    assert 'optim_wrapper.optimizer.initial_lr=0.01 (here 0.5)' in told
    assert 'last_step' not in told and 'optimizer.lr=' not in told
    assert runner.optim_wrapper.optimizer.param_groups[0]['weight_decay'] == 0.01


def test_other_learning_rate__without_a_schedule(tmp_path):
    optim = dict(optimizer=dict(type='AdamW', lr=0.01))
    config = tiny_config(tmp_path / 'a', steps=3, param_scheduler=None, optim_wrapper=optim)
    train(config)
    other = dict(optimizer=dict(type='AdamW', lr=0.5))
    path = tmp_path / 'a/iter_3.pth'
    runner = resume(tmp_path / 'b', path, param_scheduler=None, optim_wrapper=other)
    assert 'optim_wrapper.optimizer.lr=0.01 (here 0.5)' in warnings_of(runner)
