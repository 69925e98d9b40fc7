"""Each slip is found under its key, and the shipped configs have none."""

import re
from pathlib import Path

import numpy as np
import pytest

from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config import check_config
from beit_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
LEAVES = sorted(p for p in CONFIGS.glob('*/*.py') if p.parent.name != '_base_')
PRETRAIN = 'pretrain/beit_beit-micro-p8_digit-scenes.py'
CLASSIFY = 'classification/beit-micro-p8_beit_ft_digit-scenes-500.py'
SEGMENT = 'segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py'


def findings(name: str, **options) -> dict[str, str]:
    """Key -> level and message, for a shipped config with some options."""
    options = {key.replace('__', '.'): value for key, value in options.items()}
    found = check_config(load_config(CONFIGS / name, options))
    return {finding.place: f'{finding.level}: {finding.message}' for finding in found}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_shipped_configs__have_no_errors(path):
    processes = 64 if '64x' in path.stem else 16 if '16x' in path.stem else 8
    if not any(f'{n}xb' in path.stem for n in (8, 16, 64)):
        processes = 1
    found = check_config(load_config(path), processes)
    if 'dalle' in path.stem:  # its learning rate stands still after 1.2M of 3M updates
        found = [finding for finding in found if finding.place != 'param_scheduler.0.end']
    assert not found, [str(finding) for finding in found]


@pytest.mark.parametrize(
    'options, key, message',
    [
        (dict(lr_scheduler=dict(type='X')), 'lr_scheduler', 'warning.*use param_scheduler'),
        (dict(train_dataloder=dict()), 'train_dataloder', "warning.*mean 'train_dataloader'"),
        (dict(modle=dict(backbone=1)), 'modle', "warning.*mean 'model'"),
        (dict(model=5), 'model', 'error: 5; expected a dict'),
        (dict(spare=7), 'spare', 'warning.*nothing reads it'),
        (dict(env_cfg__cudnn_benchmrk=True), 'env_cfg.cudnn_benchmrk', "mean 'cudnn_benchmark'"),
        (dict(randomness__sead=1), 'randomness.sead', "mean 'seed'"),
        (dict(default_hooks__loger=dict()), 'default_hooks.loger', "mean 'logger'"),
        (dict(train_dataloader__batchsize=1), 'train_dataloader.batchsize', "mean 'batch_size'"),
        (dict(model__backbone__drop_path=0.1), 'model.backbone.drop_path', "'drop_path_rate'"),
        (dict(model__neck__type='MaskedPatchNek'), 'model.neck.type', "mean 'MaskedPatchNeck'"),
        (dict(model__neck__type='BEiTViT'), 'model.neck.type', "mean 'mmpretrain.BEiTViT'"),
        (dict(optim_wrapper__clip_grd=dict()), 'optim_wrapper.clip_grd', "mean 'clip_grad'"),
        (dict(optim_wrapper__optimizer__wd=1), 'optim_wrapper.optimizer.wd', "takes no 'wd'"),
        (dict(train_cfg__max_iter=7), 'train_cfg.max_iter', "mean 'max_iters'"),
        (
            dict(train_cfg__max_iters=900, param_scheduler__1__end=3000),
            'param_scheduler.1.end',
            'warning.*stops before',
        ),
        (
            dict(train_cfg__max_iters=9000, param_scheduler__1__end=3000),
            'param_scheduler.1.end',
            'warning.*stands still',
        ),
        (dict(auto_scale_lr__base_batch_size=96), 'auto_scale_lr.base_batch_size', '96, but 48'),
        (
            dict(model__backbone__patch_size=16),
            'train_dataloader.dataset.pipeline.2.grid',
            'gives 2 x 2 patches',
        ),
        (
            dict(model__tokenizer__stride=4),
            'train_dataloader.dataset.pipeline.1.token_size',
            r'gives 8 x 8 tokens, but there are 4 x 4 patches; set token_size=\(16, 16\)',
        ),
        (
            dict(default_hooks__checkpoint__intervall=3),
            'default_hooks.checkpoint.intervall',
            "takes no 'intervall'; did you mean 'interval'",
        ),
        (
            dict(optim_wrapper__paramwise_cfg=dict(layer_decay=0.9)),
            'optim_wrapper.paramwise_cfg.layer_decay',
            "mean 'layer_decay_rate'",
        ),
        (dict(log_processor__window=5), 'log_processor.window', "mean 'window_size'"),
        (dict(val_cfg__fp=1), 'val_cfg.fp', "takes no 'fp'"),
        (dict(model__test_cfg=dict(mod='whole')), 'model.test_cfg.mod', "mean 'mode'"),
        (
            dict(default_hooks__non_finit_guard=dict(type='beit_mm.NonFiniteGuardHook')),
            'default_hooks.non_finit_guard',
            "mean 'non_finite_guard'",
        ),
        (dict(default_hooks__spare=dict(interval=5)), 'default_hooks.spare', "has no 'type'"),
        (
            dict(default_hooks__probe__dataset=dict(type='LabelledImageFoldr')),
            'default_hooks.probe.dataset.type',
            "error.*mean 'LabelledImageFolder'",
        ),
        (
            dict(default_hooks__probe__dataset=dict(type='LabelledImageFolder', label='a.csv')),
            'default_hooks.probe.dataset.label',
            "error.*mean 'labels'",
        ),
        (dict(optim_wrapper__clip_grad=dict(max_nrm=3.0)), 'optim_wrapper.clip_grad.max_nrm', 'm'),
        (
            dict(optim_wrapper__constructor='BEiTOptimWraperConstructor'),
            'optim_wrapper.constructor',
            "error.*mean 'BEiTOptimWrapperConstructor'",
        ),
        (dict(optim_wrapper__optimizer__lr='1e-3'), 'optim_wrapper.optimizer.lr', 'is text'),
        *(
            (
                dict(optim_wrapper__optimizer=dict(_delete_=True, type=name, lr=0.1)),
                'optim_wrapper.optimizer',
                f'error: .*{reason}',
            )
            for name, reason in dict(Muon='only.*2D', LBFGS='closure', SparseAdam='dense').items()
        ),
        (dict(optim_wrapper__accumulative_counts='2'), 'optim_wrapper.accumulative_counts', 'e.*t'),
        (dict(log_processor__window_size='5'), 'log_processor.window_size', 'error.*is text'),
        (dict(randomness__seed='a'), 'randomness.seed', "error: 'a' is text; expected a whole n"),
        (dict(randomness__seed=-1), 'randomness.seed', 'error: -1; expected .* from 0 to 4294967'),
        (dict(randomness__seed=1.5), 'randomness.seed', 'error'),
        (dict(log_level='info'), 'log_level', "error: 'info'; expected one of 'DEBUG', 'INFO'"),
        (dict(log_level=None), 'log_level', 'error: None'),
        (dict(load_from=5), 'load_from', 'error: 5; expected text'),
        (dict(env_cfg__mp_cfg__mp_start_method='frk'), 'env_cfg.mp_cfg.mp_start_method', 'error'),
        (dict(train_dataloader__num_workers=-1), 'train_dataloader.num_workers', 'error: -1; .* 0'),
        (dict(val_dataloader__num_workers='2'), 'val_dataloader.num_workers', 'error.*is text'),
        (dict(train_dataloader__num_workers=1.5), 'train_dataloader.num_workers', 'error'),
        (dict(train_dataloader__batch_size=0), 'train_dataloader.batch_size', 'error: 0; .* 1'),
        (dict(val_dataloader__batch_size='8'), 'val_dataloader.batch_size', 'error.*is text'),
        (dict(val_dataloader__batch_size=None), 'val_dataloader.batch_size', 'error: None; .* 1'),
        (dict(train_dataloader__batch_size=None), 'train_dataloader.batch_size', 'error: None'),
        *(
            (
                dict(optim_wrapper__paramwise_cfg__layer_decay_rate=rate),
                'optim_wrapper.paramwise_cfg',
                re.escape(f'layer_decay_rate={rate!r}: expected a number'),
            )
            for rate in (None, '0.75', 0, 1.5, [0.5])
        ),
        (
            dict(optim_wrapper__paramwise_cfg=dict(no_decay_names=3)),
            'optim_wrapper.paramwise_cfg',
            'error',
        ),
        (dict(model__head__vocab_size=None), 'model', 'error: VisualTokenHead.vocab_size=None'),
        (dict(model__tokenizer__vocab_size=None), 'model.tokenizer', 'error.*vocab_size=None'),
        (
            dict(default_hooks__checkpoint__interval='5'),
            'default_hooks.checkpoint',
            "error: AtomicCheckpointHook.interval='5': expected a number",
        ),
        (dict(default_hooks__logger__interval=0), 'default_hooks.logger', 'error.*greater than 0'),
        (
            dict(default_hooks__codebook_guard__interval=0),
            'default_hooks.codebook_guard',
            'e.*>= 1',
        ),
        (dict(param_scheduler=[dict(end=300)]), 'param_scheduler.0', "has no 'type'.*as a whole"),
        (
            dict(param_scheduler=[dict(type='CosineAnnealingLR', T_max=3000)]),
            'param_scheduler.0.by_epoch',
            'warning.*loop of iterations has no epochs',
        ),
        (
            dict(param_scheduler=[dict(type='CosineAnnealingLR', T_max=300, by_epoch=False)]),
            'param_scheduler.0.T_max',
            'warning: 300, .*max_iters=3000: the learning rate rises again',
        ),
        (
            dict(param_scheduler=[dict(type='MultiStepLR', milestones=[9, 9000], by_epoch=False)]),
            'param_scheduler.0.milestones',
            'warning: 9000, .*stops before',
        ),
        (
            dict(default_hooks__checkpoint__by_epoch=True),
            'default_hooks.checkpoint.by_epoch',
            'warning.*nothing is saved before its end',
        ),
        (
            dict(data_preprocessor__mean=[0.485], data_preprocessor__std=[0.229]),
            'data_preprocessor.mean',
            r'warning.*are in \[0, 255\]; multiply both by 255',
        ),
        (dict(resume='x.pth'), 'resume', "error.*set resume=True and load_from='x.pth'"),
        (dict(_bases_='x.py'), '_bases_', "warning.*mean '_base_'"),
        (dict(batch_size=3), 'batch_size', "mean 'train_dataloader.batch_size', which is 48"),
        (dict(model__head__vocab_size=8), 'model.head.vocab_size', '8, but .*vocab_size=256'),
        (
            {'val_dataloader__dataset__pipeline__0__type': 'LoadImagefromFile'},
            'val_dataloader.dataset.pipeline.0.type',
            "mean 'LoadImageFromFile'",
        ),
    ],
)
def test_slips__are_found(options, key, message):
    assert key not in findings(PRETRAIN)
    found = findings(PRETRAIN, **options)
    assert key in found, found
    assert re.search(message, found[key]), found[key]


def test_another_packages_class_under_the_same_name():
    key = 'train_dataloader.dataset.pipeline.0.type'
    found = findings(CLASSIFY, train_dataloader__dataset__pipeline__0__type='LoadAnnotations')
    assert (
        "'LoadAnnotations' is mmcv" in found[key] and "write 'mmseg.LoadAnnotations'" in found[key]
    )
    assert key not in findings(
        SEGMENT, train_dataloader__dataset__pipeline__0__type='LoadAnnotations'
    )


def test_grids__inside_of_a_wrapped_data_set(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text(
        f"_base_ = '{CONFIGS / PRETRAIN}'\n"
        'train_dataloader = dict(dataset=dict(_delete_=True, type="SkipBadSamples", '
        'dataset={{_base_.train_dataloader.dataset}}))\n'
        'model = dict(backbone=dict(patch_size=16))\n'
    )
    keys = {finding.place for finding in check_config(load_config(path))}
    assert 'train_dataloader.dataset.dataset.pipeline.2.grid' in keys


def test_schedule__each_that_outlasts_the_run(tmp_path):
    """Not the longest alone; a schedule that is converted counts epochs in any loop."""
    warm_up = dict(type='LinearLR', start_factor=0.1, end=5000, by_epoch=False)
    cosine = dict(type='CosineAnnealingLR', by_epoch=False, begin=5000, end=9000)
    found = findings(PRETRAIN, param_scheduler=[warm_up, cosine])
    assert {key for key in found if 'param' in key} == {
        *('param_scheduler.0.end', 'param_scheduler.1.end'),
    }
    cut = dict(type='CosineAnnealingLR', by_epoch=False, end=3000, T_max=9000)  # on purpose
    assert not findings(PRETRAIN, param_scheduler=[cut])
    converted = dict(type='CosineAnnealingLR', end=9, convert_to_iter_based=True, by_epoch=True)
    assert not findings(PRETRAIN, param_scheduler=[converted])


def test_schedule__of_steps_stands_still_after_the_last():
    steps = dict(type='MultiStepLR', milestones=[900, 2700], by_epoch=False)
    assert not findings(PRETRAIN, param_scheduler=[steps])


def test_total_batch__is_no_matter_where_the_rate_is_scaled():
    assert not findings(PRETRAIN, auto_scale_lr=dict(base_batch_size=96, enable=True))


def test_preprocessor__without_a_type_is_that_of_the_scope():
    found = findings(CLASSIFY, data_preprocessor__bgr_to_rgb=True)
    assert "ClsDataPreprocessor takes no 'bgr_to_rgb'" in found['data_preprocessor.bgr_to_rgb']


def test_mean_and_std__of_images_that_are_in_0_to_1():
    bands = [dict(type='LoadMultiBandImage'), dict(type='PackMIMInputs')]
    options = dict(data_preprocessor__mean=[0.4], data_preprocessor__std=[0.2])
    for name in ('train', 'val', 'test'):  # all load alike
        options[f'{name}_dataloader__dataset__pipeline'] = bands
    assert not findings(PRETRAIN, **options)


def test_default_constructor__slip_in_paramwise_cfg():
    found = findings(
        CLASSIFY,
        optim_wrapper__constructor='DefaultOptimWrapperConstructor',
        optim_wrapper__paramwise_cfg=dict(norm_decay_mul=0.0),
    )
    assert "mean 'norm_decay_mult'" in found['optim_wrapper.paramwise_cfg.norm_decay_mul']


def test_variables_that_are_used__are_no_findings(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text(
        f"_base_ = '{CONFIGS / PRETRAIN}'\nmean = [1.0, 2.0, 3.0]\n"
        'data_preprocessor = dict(mean=mean, std=mean)\n'
        'test_pipeline = [dict(type="LoadImageFromFile"), dict(type="PackMIMInputs")]\n'
        'test_dataloader = dict(dataset=dict(pipeline=test_pipeline))\n'
        'metric = dict(type="MaskedTokenAccuracy", prefix="m")\nval_evaluator = metric\n'
    )
    assert not check_config(load_config(path))


def test_replacing_wrapper__in_an_evaluation(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text(
        f"_base_ = '{CONFIGS / CLASSIFY}'\n"
        'wrap = dict(type="RepeatDataset", times=2, dataset=dict(type="beit_mm.SkipBadSamples", '
        'dataset={{_base_.val_dataloader.dataset}}))\n'
        'train_dataloader = dict(dataset=dict(_delete_=True, type="beit_mm.SkipBadSamples", '
        'dataset={{_base_.train_dataloader.dataset}}))\n'
        'val_dataloader = dict(dataset=dict(_delete_=True, **wrap))\n'
    )
    found = {finding.place: finding for finding in check_config(load_config(path))}
    assert {key for key in found if key.endswith('dataset.type')} == {
        'val_dataloader.dataset.dataset.type'
    }
    finding = found['val_dataloader.dataset.dataset.type']
    assert finding.level == 'error' and 'every sample' in finding.message


def test_replacing_wrapper__by_the_scope_of_its_data_set():
    wrap = dict(type='SkipBadSamples', _scope_='beit_mm', dataset=dict(type='CIFAR10'))
    found = findings(CLASSIFY, val_dataloader__dataset=dict(_delete_=True, **wrap))
    assert 'every sample' in found['val_dataloader.dataset.type']


def test_normalization__twice_or_in_one_pipeline_only(tmp_path):
    def keys(text):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = '{CONFIGS / CLASSIFY}'\n{text}")
        return {finding.place: finding.message for finding in check_config(load_config(path))}

    pipeline = '[dict(type="LoadImageFromFile"), dict(type="Normalize", mean=[1.0], std=[2.0])]'
    one = f'train_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
    place = 'train_dataloader.dataset.pipeline.1'
    assert 'normalized twice' in keys(one)[place]
    off = 'data_preprocessor = dict(mean=None, std=None)\n'
    assert 'not in val_dataloader.dataset.pipeline' in keys(one + off)[place]
    both = f'val_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
    both += 'test_dataloader = val_dataloader\n'
    assert not [key for key in keys(one + both + off) if '.pipeline.' in key]


@pytest.mark.parametrize(
    ('name', 'change', 'size'),
    [
        ('dvae_light-v256', 'vocab_size', 64),
        ('fsq_8x6x5-v240', 'levels', 40),
        ('lfq_v256', 'bits', 32),
        ('rvq_16x2-v256', 'num_codes', 25),
    ],
)
def test_vocabulary__of_a_tokenizer_in_training_and_its_metric(name, change, size):
    value = dict(vocab_size=64, levels=[8, 5], bits=5, num_codes=5)[change]
    change = {f'model__{change}': value}
    assert not findings(f'tokenizer/{name}_digit-scenes.py', **change)  # one key
    change['val_evaluator__vocab_size'] = 256
    found = findings(f'tokenizer/{name}_digit-scenes.py', **change)
    assert f'but model.vocab_size={size}; set them equal' in found['val_evaluator.vocab_size']


def test_derived_arguments__may_be_left_out_and_are_checked_where_given(tmp_path):
    def found(text):
        path = tmp_path / 'child.py'
        path.write_text(
            f"_base_ = '{CONFIGS / PRETRAIN}'\nmodel = dict("
            "neck=dict(_delete_=True, type='MaskedPatchNeck'), "
            f"head=dict(_delete_=True, type='VisualTokenHead'{text}))\n"
        )
        return {finding.place: finding for finding in check_config(load_config(path))}

    assert found('') == {}
    assert found(', vocab_size=8').keys() == {'model.head.vocab_size'}


@pytest.mark.parametrize(
    'tokenizer',
    [
        dict(type='KMeansTokenizer', features=dict(type='PatchPixels', patch_size=16), stride=16),
        dict(type='VQKDTokenizer', arch='base', patch_size=16),
    ],
)
def test_stride__is_asked_of_the_class(tmp_path, tokenizer):
    path = tmp_path / 'child.py'
    path.write_text(
        f"_base_ = '{CONFIGS / PRETRAIN}'\n"
        f'model = dict(tokenizer=dict(_delete_=True, **{tokenizer}))\n'
    )
    found = {finding.place: finding.message for finding in check_config(load_config(path))}
    assert '/ stride=16' in found['train_dataloader.dataset.pipeline.1.token_size']


def test_grids__of_each_data_set_that_is_joined(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text(
        f"_base_ = '{CONFIGS / PRETRAIN}'\n"
        'train_dataloader = dict(dataset=dict(_delete_=True, type="mmengine.ConcatDataset", '
        'datasets=[{{_base_.train_dataloader.dataset}}, {{_base_.train_dataloader.dataset}}]))\n'
        'model = dict(backbone=dict(patch_size=16))\n'
    )
    places = {finding.place for finding in check_config(load_config(path))}
    for number in (0, 1):
        assert f'train_dataloader.dataset.datasets.{number}.pipeline.2.grid' in places


def test_variables__of_a_config_that_are_joined_to_others(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text(
        f"_base_ = '{CONFIGS / PRETRAIN}'\nroot = 'data/mine'\nload = [dict(type='Load')]\n"
        "idle = 'nowhere'\nunused = [dict(type='Other')]\n"
        "train_dataloader = dict(dataset=dict(data_root=root + '/a', pipeline=[*load, 1]))\n"
    )
    found = {finding.place for finding in check_config(load_config(path))}
    assert found & {'root', 'load', 'idle', 'unused'} == {'idle', 'unused'}


def test_variables__of_a_base_whose_use_a_child_replaces(tmp_path):
    """They had their use in the file of the base; one that is set in vain is told of."""
    replaced = "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))\n"
    in_vain = "train_pipeline = [dict(type='RandomFlip', prob=0.1)]\n"
    for text, told in ((replaced, False), (in_vain, True)):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = '{CONFIGS / PRETRAIN}'\n{text}")
        keys = {finding.place for finding in check_config(load_config(path))}
        assert ('train_pipeline' in keys) is told


def test_schedule__that_ends_before_it_begins():
    """As it comes of shortening a training: the advice to set the ends equal isn't enough."""
    short = dict(train_cfg__max_iters=20)
    found = findings(PRETRAIN, **short)['param_scheduler.1.begin']
    assert found.startswith('warning: 240, but train_cfg.max_iters=20: the schedule begins after')
    found = findings(PRETRAIN, **short, param_scheduler__1__end=3000)['param_scheduler.1.end']
    assert 'and begin of it below 20' in found
    found = findings(PRETRAIN, **short, param_scheduler__1__end=20)['param_scheduler.1.end']
    assert found.startswith('error: 20, but it begins at 240; set begin of it')
    assert 'param_scheduler.1.begin' not in findings(PRETRAIN, train_cfg__max_iters=300)
    long = dict(train_cfg__max_iters=300, param_scheduler__1__end=3000)
    assert 'begin' not in findings(PRETRAIN, **long)['param_scheduler.1.end']


def test_means__five_bands_in_segmentation_are_normalized_in_the_pipelines(tmp_path):
    def errors(text):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = '{CONFIGS / SEGMENT}'\n{text}")
        found = {f.place: f.message for f in check_config(load_config(path)) if f.level == 'error'}
        return {key: message for key, message in found.items() if 'preprocessor' in key}

    five = 'model = dict(data_preprocessor=dict(mean=[1.0] * 5, std=[2.0] * 5))\n'
    assert 'takes 1 or 3 values, here are 5' in errors(five)['model.data_preprocessor.mean']
    assert not errors('') and not errors(five.replace('* 5', '* 1'))
    pipeline = '[dict(type="Normalize", mean=[1.0] * 5, std=[2.0] * 5, to_rgb=False)]'
    both = 'model = dict(data_preprocessor=dict(mean=None, std=None))\n' + ''.join(
        f'{name}_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
        for name in ('train', 'val', 'test')
    )
    assert not errors(both)
    hidden = five.replace('model = dict(', '').replace('5))', '5)').replace('r=dict', 'r = dict')
    assert not errors(hidden)  # MMEngine trains it: a warning is enough
    path = tmp_path / 'child.py'
    warned = {f.place: f.message for f in check_config(load_config(path)) if f.level == 'warning'}
    assert 'the model has its own, which is taken' in warned['data_preprocessor']


@pytest.mark.parametrize('name', [CLASSIFY, SEGMENT, PRETRAIN])
def test_weight_decay__of_what_it_is_not_for(name):
    found = findings(
        name,
        optim_wrapper__constructor='DefaultOptimWrapperConstructor',
        optim_wrapper__paramwise_cfg=None,
    )
    message = found['optim_wrapper.paramwise_cfg']
    for kind, count, example in (
        ('norm layers', 16 + 2 * (name == SEGMENT), 'blocks.0.norm1.weight'),
        ('layer scales', 8, 'blocks.0.gamma_1'),
        ('tokens and position embeddings', 2, 'cls_token'),
    ):
        assert f'{kind} ({count} tensors, as model.backbone.{example})' in message
    assert 'biases' in message and message.startswith('warning')


def test_weight_decay__what_is_left_is_named():
    def decayed(weight_decay=0.05, **paramwise):
        options = dict(
            optim_wrapper__constructor='DefaultOptimWrapperConstructor',
            optim_wrapper__paramwise_cfg=paramwise or None,
            optim_wrapper__optimizer__weight_decay=weight_decay,
        )
        return ' '.join(m for m in findings(CLASSIFY, **options).values() if 'weight_decay' in m)

    excluded = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    keys = {'.gamma_': dict(decay_mult=0.0)}
    left = decayed(**excluded, custom_keys=keys)
    # q_bias and v_bias are no `bias` for that constructor
    assert (
        'cls_token' in left and 'biases (8 tensors, as model.backbone.blocks.0.attn.q_bias' in left
    )
    assert 'layer scales' not in left and 'norm layers' not in left
    assert not decayed(
        norm_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict.fromkeys(('cls_token', 'pos_embed'), dict(decay_mult=0.0)),
    )
    assert decayed() and not decayed(weight_decay=0.0)


@pytest.mark.parametrize('number', [np.int64, np.int32, np.float32, float])
@pytest.mark.parametrize(
    'key',
    [
        *('train_cfg.max_iters', 'train_cfg.val_interval', 'default_hooks.checkpoint.interval'),
        *('default_hooks.checkpoint.max_keep_ckpts', 'param_scheduler.1.end'),
    ],
)
def test_number_of_any_type__is_no_error(key, number):
    before = findings(PRETRAIN)
    found = findings(PRETRAIN, **{key: number(500)})
    assert [f for place, f in found.items() if 'error' in f and place not in before] == []


@pytest.mark.parametrize(
    'options',
    [
        dict(optim_wrapper__optimizer__capturable=True),  # on a GPU
        dict(
            optim_wrapper__optimizer=dict(_delete_=True, type='Muon', lr=0.1),
            optim_wrapper__constructor='MatricesAlone',
        ),
    ],
)
def test_optimizer__that_another_place_or_constructor_can_use_is_no_error(options, monkeypatch):
    monkeypatch.setitem(OPTIM_WRAPPER_CONSTRUCTORS.module_dict, 'MatricesAlone', MatricesAlone)
    assert 'optim_wrapper.optimizer' not in findings(PRETRAIN, **options)


class MatricesAlone:
    """A constructor of one's own."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        pass
