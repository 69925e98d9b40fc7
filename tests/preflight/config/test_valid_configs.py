"""What MMEngine trains is no error: the ordinary styles of its libraries' configs."""

import pytest
from mmengine.config import Config

from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config import check_config

SCHEDULE = """
base_lr = 0.01
optimizer = dict(type='SGD', lr=base_lr, momentum=0.9)
optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer, clip_grad=None)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=9, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=9, val_interval=3)
val_cfg = dict(type='ValLoop')
custom_hooks = [dict(type='EMAHook', begin_iter=2), dict(type='SyncBuffersHook')]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
"""
DATA = """
dataset_type = 'CustomDataset'
crop_size = (8, 8)
img_ratios = [0.5, 1.0]
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=crop_size)]
val_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=crop_size)]
test_pipeline = val_pipeline
tta_pipeline = [dict(type='TestTimeAug', transforms=[
    [dict(type='Resize', scale_factor=r) for r in img_ratios]])]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, pipeline=val_pipeline))
val_evaluator = dict(type='Accuracy')
"""
MODEL = """
default_scope = 'mmpretrain'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='ImageClassifier', backbone=dict(type='ResNet', depth=18, norm_cfg=norm_cfg),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=512))
"""


@pytest.fixture
def child(tmp_path):
    for name, text in dict(schedule=SCHEDULE, data=DATA, model=MODEL).items():
        (tmp_path / f'{name}.py').write_text(text)

    def write(text: str, options: dict | None = None) -> Config:
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = ['model.py', 'data.py', 'schedule.py']\n{text}")
        return load_config(path, options)

    return write


def found(config: Config, level: str = 'error') -> dict[str, str]:
    findings = check_config(config)
    assert not [finding for finding in findings if finding.place.startswith('check_')]
    return {finding.place: finding.message for finding in findings if finding.level == level}


@pytest.mark.parametrize(
    'text',
    [
        '',
        "optim_wrapper = dict(_delete_=True, type='OptimWrapper', "
        "optimizer=dict(type='AdamW', lr=1e-4))",
        'optimizer = dict(lr=0.1)\noptim_wrapper = dict(optimizer=optimizer)',
        'base_lr = 0.1\noptim_wrapper = dict(optimizer=dict(lr=base_lr))',
        "train_pipeline = [dict(type='LoadImageFromFile')]\n"
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))',
        "train_dataloader = dict(dataset=dict(_delete_=True, type='CIFAR10', pipeline=[]))",
        "val_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))",
        "optim_wrapper = dict(clip_grad=dict(_delete_=True, type='norm', max_norm=1.0))",
        "optim_wrapper = dict(clip_grad=dict(_delete_=True, type='value', clip_value=0.2))",
        "norm_cfg = dict(type='SyncBN')",
        "model = dict(backbone=dict(norm_cfg=dict(type='GN', num_groups=2)))",
        'find_unused_parameters = True',
        "runner = dict(type='IterBasedRunner', max_iters=9)",
        'optim_wraper = dict(optimizer=dict(lr=0.1))',
        'env_cfg = dict(cudnn_benchmrk=True)',
        "default_hooks = dict(timers=dict(type='IterTimerHook'))",
        "vis_backend = [dict(type='TensorboardVisBackend')]",
        'test_dataloader = None\ntest_cfg = None\ntest_evaluator = None',
        "test_evaluator = dict(type='NoSuchMetric')\ntest_cfg = dict()\n"
        'test_dataloader = {{_base_.val_dataloader}}',
        "val_evaluator = dict(type='Evaluator', metrics=[dict(type='Accuracy')])",
        "visualizer = dict(type='UniversalVisualizer')",
        "optim_wrapper = dict(_delete_=True, constructor='beit_mm.BEiTOptimWrapperConstructor', "
        "body=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0)))",
        'val_dataloader = [{{_base_.val_dataloader}}] * 2\n'
        "val_cfg = dict(_delete_=True, type='mmseg.IterBasedTrainLoop', max_iters=1)",
        "train_dataloader = dict(dataset=dict(metainfo=dict(type='Medical', classes=['a', 'b'])))",
    ],
)
def test_ordinary_children__have_no_errors(child, text):
    assert found(child(text)) == {}


@pytest.mark.parametrize(
    'options',
    [
        {'optim_wrapper.optimizer.lr': 1e-4},
        {'train_dataloader.batch_size': 4},
        {'train_dataloader.dataset.data_root': 'elsewhere'},
        {'param_scheduler.0.end': 5},
        {'base_lr': 0.5},
        {'optimizer.lr': 0.5},
    ],
)
def test_options__are_no_errors(child, options):
    assert found(child('', options)) == {}


def test_several_loaders__of_a_loop_of_mmengine_are_an_error(child):
    assert 'val_dataloader' in found(child('val_dataloader = [{{_base_.val_dataloader}}] * 2'))


@pytest.mark.parametrize(
    'text, key',
    [
        ('train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=1)', 'train'),
        ("train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)", 'train'),
        ('', 'val'),
        ('val_cfg = dict(_delete_=True)', 'val'),
    ],
)
def test_samplers_without_end__where_the_end_is_awaited(child, text, key):
    endless = f"{key}_dataloader = dict(sampler=dict(_delete_=True, type='InfiniteSampler'))\n"
    assert 'never ends' in found(child(endless + text))[f'{key}_dataloader.sampler']
    assert not found(child(endless.replace('val', 'train')))  # a loop of iterations
    own = f"{key}_dataloader = dict(batch_sampler=dict(type='BatchSampler', batch_size=2), "
    own += "sampler=dict(_delete_=True, type='InfiniteSampler'))\n"
    assert f'{key}_dataloader.sampler' not in found(child(own + text))


@pytest.mark.parametrize('name', ['LearningRateDecay', 'LayerDecay', 'mmseg.LayerDecay'])
def test_constructors__that_do_not_know_our_blocks(child, name):
    changes = f"default_scope = 'mmseg'\noptim_wrapper = dict(constructor='{name}"
    changes += "OptimizerConstructor', paramwise_cfg=dict(layer_decay_rate=0.9, num_layers=2), "
    changes += "optimizer=dict(_delete_=True, type='AdamW', lr=1.0, weight_decay=0.05))"
    ours = "model = dict(backbone=dict(_delete_=True, type='beit_mm.BEiTEncoder', arch='micro'))"
    told = found(child(f'{changes}\n{ours}'), 'warning')
    assert 'finds no block of BEiTEncoder' in told['optim_wrapper.constructor']
    told = found(child(changes), 'warning').get('optim_wrapper.constructor', '')
    assert 'finds no block' not in told


def test_checkpoints__that_are_never_written(child):
    def told(**hook):
        hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, **hook))
        return found(child(f'default_hooks = {hooks}'), 'warning').get(
            'default_hooks.checkpoint.save_last', ''
        )

    assert 'no checkpoint is written at all' in told(interval=10, save_last=False)
    assert 'no checkpoint' in told(interval=-1, save_last=False)
    assert not told(interval=9, save_last=False) and not told(interval=10)
    assert not told(interval=-1, save_last=False, save_best='auto')


def test_variables_that_reach_what_they_are_for__are_not_told(child):
    """Also those of a base whose place a child has replaced."""
    unused = found(child('custom_hooks = [*_base_.custom_hooks]'), 'warning')
    assert not unused
    replaced = "optim_wrapper = dict(_delete_=True, optimizer=dict(type='AdamW', lr=1e-4))"
    assert not {'optimizer', 'base_lr'} & found(child(replaced), 'warning').keys()


def test_variables_of_a_dumped_config__are_told_where_they_differ_from_their_place(child, tmp_path):
    config, path = child(''), tmp_path / 'dumped.py'
    config.dump(path)
    kept = found(load_config(path), 'warning').keys()
    assert not {'train_pipeline', 'val_pipeline', 'vis_backends', 'optimizer', 'norm_cfg'} & kept
    path.write_text(path.read_text() + "train_pipeline = [dict(type='LoadImageFromFile')]\n")
    message = found(load_config(path), 'warning')['train_pipeline']
    assert 'nothing reads it' in message


@pytest.mark.parametrize(
    'text, key, place',
    [
        ('base_lr = 0.5', 'base_lr', 'set what it stood in'),
        ('optimizer = dict(lr=0.5)', 'optimizer', 'set optim_wrapper.optimizer instead'),
        (
            "vis_backends = [dict(type='TensorboardVisBackend')]",
            'vis_backends',
            'set visualizer.vis_backends instead',
        ),
        ("norm_cfg = dict(type='SyncBN')", 'norm_cfg', 'set model.backbone.norm_cfg instead'),
        ('train_pipeline = []', 'train_pipeline', 'data.py has built'),
        ('crop_size = (4, 4)', 'crop_size', 'data.py has built'),
    ],
)
def test_variables_of_a_base__that_a_child_sets_in_vain(child, text, key, place):
    message = found(child(text), 'warning')[key]
    assert 'does not reach' in message and place in message


def test_preprocessor__beside_that_of_the_model(child):
    own = dict(type='ClsDataPreprocessor', mean=[1.0], std=[2.0])
    for inner, told in ((dict(own, std=[3.0]), True), (own, False)):
        text = f'data_preprocessor = {own}\nmodel = dict(data_preprocessor={inner})\n'
        warned = found(child(text), 'warning').get('data_preprocessor', '')
        assert ('set model.data_preprocessor instead' in warned) == told


def test_option__that_sets_a_variable_in_vain(child):
    assert 'does not reach' in found(child('', {'base_lr': 0.5}), 'warning')['base_lr']


def test_custom_hooks__that_a_childs_list_lost(child):
    lost = child("custom_hooks = [dict(type='EMAHook')]")
    assert 'SyncBuffersHook as well' in found(lost, 'warning')['custom_hooks']
    kept = child(
        "custom_hooks = [*_base_.custom_hooks, dict(type='EarlyStoppingHook', monitor='a')]"
    )
    assert 'custom_hooks' not in found(kept, 'warning')
    option = child('', {'custom_hooks': []})
    assert 'EMAHook, SyncBuffersHook as well' in found(option, 'warning')['custom_hooks']


WARM_UP = """param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=3, end=9, by_epoch=False)]
"""
LATE = "dict(type='CosineAnnealingLR', begin=3, end=9, by_epoch=False)"


@pytest.mark.parametrize(
    'text, told',
    [
        (f'param_scheduler = [{LATE}]', True),
        (f"param_scheduler = [dict(type='LinearLR', end=3, by_epoch=False), {LATE}]", False),
        ("param_scheduler = [dict(type='ConstantLR', end=9, by_epoch=False)]", False),
        ('param_scheduler = [*_base_.param_scheduler[1:]]', True),
        ('param_scheduler = None', False),
    ],
)
def test_param_scheduler__without_the_warm_up_of_the_base(child, tmp_path, text, told):
    schedule = tmp_path / 'schedule.py'
    schedule.write_text(schedule.read_text() + WARM_UP)
    message = found(child(text), 'warning').get('param_scheduler', '')
    assert ('has LinearLR before step 3 as well' in message) == told


LOAD, CROP = "dict(type='LoadImageFromFile')", "dict(type='RandomCrop', crop_size=(8, 8))"


@pytest.mark.parametrize(
    'text, lost',
    [
        (f'pipeline=[{CROP}]', 'LoadImageFromFile'),
        (f"pipeline=[dict(type='RandomApply', transforms=[{LOAD}]), {CROP}]", ''),
        (f"pipeline=[dict(type='beit_mm.LoadMultiBandImage'), {CROP}]", ''),
        (f"type='CIFAR10', pipeline=[{CROP}]", ''),  # which has its images in memory
        (f"pipeline=[dict(type='mine.ReadScene'), {CROP}]", ''),
    ],
)
def test_pipeline__without_what_loads_in_the_base(child, text, lost):
    for key in ('train_dataloader', 'val_dataloader'):
        told = found(child(f'{key} = dict(dataset=dict({text}))'), 'warning')
        message = told.get(f'{key}.dataset.pipeline', '')
        assert f'has {lost} as well' in message if lost else not message, message


PURE_PYTHON = """
from pathlib import Path
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper
from mmpretrain.datasets import CustomDataset
from mmpretrain.models import GlobalAveragePooling, ImageClassifier, LinearClsHead, ResNet
with read_base():
    from .pure_base import *
root = Path('data') / 'mine'
model = dict(type=ImageClassifier, backbone=dict(type=ResNet, depth=18),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=2, in_channels=512))
train_dataloader = dict(batch_size=2, sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=CustomDataset, data_root=str(root), pipeline=[]))
optim_wrapper.optimizer.lr = 0.2
default_scope = 'mmpretrain'
"""
PURE_BASE = """
from mmengine.optim import OptimWrapper
from torch.optim import SGD
optimizer = dict(type=SGD, lr=0.1)
optim_wrapper = dict(type=OptimWrapper, optimizer=optimizer)
train_cfg = dict(by_epoch=True, max_epochs=3)
"""


@pytest.mark.parametrize(
    'text, wrong',
    [
        ('', {}),
        ("strategy = dict(type='SingleDeviceStrategy')\nrunner_type = 'FlexibleRunner'\n", {}),
        ('model["head"]["num_clases"] = 3\n', {'model.head.num_clases'}),
        (
            'train_dataloader["dataset"]["data_roots"] = 3\n',
            {'train_dataloader.dataset.data_roots'},
        ),
        ('optim_wrapper.optimizer.lrs = 3\n', {'optim_wrapper.optimizer.lrs'}),
        ('train_dataloader["sampler"]["shufle"] = 3\n', {'train_dataloader.sampler.shufle'}),
    ],
)
def test_pure_python__is_checked_as_others_are(tmp_path, text, wrong):
    (tmp_path / 'pure_base.py').write_text(PURE_BASE)
    path = tmp_path / 'pure.py'
    path.write_text(PURE_PYTHON + text)
    config = load_config(path)
    assert set(found(config)) == set(wrong)
    assert not set(found(config, 'warning')) - {'optimizer', 'root'}
