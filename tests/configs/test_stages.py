"""From stage to stage, the shipped configs made small: what a checkpoint says, who reads it."""

import copy
import itertools
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from beit_mm import load_model
from beit_mm.checkpoints import description_of, read_checkpoint, read_description
from beit_mm.checkpoints.description import StageMismatchError, differences, here_of
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts.digest import weights_sha256
from beit_mm.engine.hooks import LoadReportHook
from beit_mm.preflight.config.stages import check_stages, parts_of_config

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
TOKENIZER = 'tokenizer/dvae_light-v256_digit-scenes.py'
PRETRAIN = 'pretrain/beit_beit-micro-p8_digit-scenes.py'
CLASSIFY = 'classification/beit-micro-p8_beit_ft_digit-scenes-500.py'
SEGMENT = 'segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py'
SMALL_TOKENIZER = dict(vocab_size=16, width=8, num_blocks=1, code_dim=4)
SMALL_ARCH = dict(embed_dims=16, num_layers=2, num_heads=2)


def small(name, tree, work_dir, start=None, **options) -> Config:
    """A shipped config with a tiny model, for one step; ``start`` is the stage before's file."""
    config = load_config(CONFIGS / name)
    model = config.model
    for part in (model, model.get('tokenizer', {})):
        if part.get('type') == 'DVAETokenizer':
            part.update(SMALL_TOKENIZER)
    if 'backbone' in model:
        model.backbone.arch = SMALL_ARCH
        for part in ('neck', 'head'):
            if 'dims' in model.get(part, {}):
                model[part].dims = 16
        if 'tokenizer' in model:
            model.head.vocab_size = 16
        elif 'head' in model:
            model.head.in_channels = 16
        else:
            model.decode_head.update(in_channels=16, channels=16)
    if start is not None:
        (model.tokenizer if 'tokenizer' in model else model.backbone).init_cfg.checkpoint = start
    loader = config.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.dataset.data_root = str(tree / loader.dataset.data_root)
    config.train_cfg.max_iters = 1
    config.train_cfg.val_interval = 10
    config.param_scheduler = []
    for key in ('dataloader', 'cfg', 'evaluator'):
        config[f'val_{key}'] = config[f'test_{key}'] = None
    config.default_hooks.checkpoint.interval = 1
    config.work_dir = str(work_dir)
    config.experiment_name = str(work_dir)
    config.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return config


NUMBERS = itertools.count()


def runner_of(config: Config) -> Runner:
    """With a logger of its own; else it is that of another run that began in the same second."""
    config = copy.deepcopy(config)
    config.experiment_name = f'stage{next(NUMBERS)}'
    return Runner.from_cfg(config)


def train(config: Config) -> tuple[Path, str]:
    """The checkpoint of one step, and the log."""
    runner = runner_of(config)
    runner.train()
    return Path(config.work_dir) / 'iter_1.pth', log_of(runner)


def begin(config: Config) -> str:
    """The log of all that a training does with checkpoints before its first step."""
    runner = runner_of(config)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.call_hook('before_run')
    runner._init_model_weights()
    if config.load_from:
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, LoadReportHook))
        hook.after_load_checkpoint(runner, read_checkpoint(config.load_from))
    return log_of(runner)


def log_of(runner: Runner) -> str:
    return next(Path(runner.log_dir).glob('*.log')).read_text()


@pytest.fixture(scope='module')
def chain(tree, tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """Checkpoint and log of each stage of the shipped chain."""
    folder = tmp_path_factory.mktemp('chain')
    kept = {cls: cls._instance_dict.copy() for cls in (DefaultScope, MMLogger, MessageHub)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.runner.runner.collect_env', dict)
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, False))
        token = train(small(TOKENIZER, tree, folder / 'token'))
        pretrain = train(small(PRETRAIN, tree, folder / 'pretrain', str(token[0])))
        start = str(pretrain[0])
        classify = train(small(CLASSIFY, tree, folder / 'classify', start))
        segment = train(small(SEGMENT, tree, folder / 'segment', start))
    for cls, instances in kept.items():  # of these runners, for those that come after
        cls._instance_dict.clear()
        cls._instance_dict.update(instances)
    Visualizer._instance_dict.clear()
    return dict(token=token, pretrain=pretrain, classify=classify, segment=segment)


def warned(log: str) -> list[str]:
    """Keys of the config that the log complains of."""
    return re.findall(r'WARNING - ((?:model|data_preprocessor)[\w.]*): ', log)


def test_shipped_chain__agrees_with_itself(chain):
    for name, (_, log) in chain.items():
        assert warned(log) == [], name


# ---- what a checkpoint says ----


def test_description__is_plain_and_true(chain):
    for name, (path, _) in chain.items():
        checkpoint = torch.load(path, weights_only=True)  # as any safe reader does
        found = checkpoint['meta']['beit_mm']
        assert found == description_of(read_checkpoint(path)) == read_description(path)
        assert {'Python', 'beit_mm', 'torch', 'mmengine', 'mmcv'} <= set(found['versions'])
        is_tokenizer = name == 'token'
        mean, std = ([0.0], [255.0]) if is_tokenizer else ([127.5] * 3, [63.75] * 3)
        values = [0.0, 1.0] if is_tokenizer else [-2.0, 2.0]
        assert found['images'] == dict(mean=mean, std=std, channel_order='RGB', range=values)
        config = Config.fromstring(checkpoint['meta']['cfg'], '.py')
        assert config.model.type == found['model']
        if not is_tokenizer:
            size = dict(patch_size=8, img_size=[32, 32], in_channels=3)
            assert found['backbone'] == dict(type='BEiTEncoder', **size)
        assert ('tokenizer' in found) == (name in ('token', 'pretrain'))


def test_load_model__answers_from_each_stage(chain, tree):
    """What a Runner has written, without any config."""
    images = sorted((tree / 'data/digit_scenes/val').rglob('*.png'))[:3]
    verbs = dict(token='tokenize', pretrain='embed', classify='classify', segment='segment')
    for name, verb in verbs.items():
        path, _ = chain[name]
        for source in (path, path.parent):  # the file, and the work dir
            model = load_model(source)
            assert model.source == str(path)
        result = model.predict(images)
        assert result.files == [*map(str, images)] and not result.failed
        assert [*result[0]] == [*getattr(model, verb)(images)[0]]
        weights = read_checkpoint(path)['state_dict']
        found = model.module.state_dict()
        assert all(torch.equal(found[key], weights[key]) for key in found)
        classes = dict(classify=[*'0123456789'], segment=['background', *'0123456789'])
        assert model.classes == classes.get(name)
    assert model.palette[1] == [230, 25, 75] and model.size == (32, 32)


def test_description__tokenizer_is_that_of_its_file_and_of_a_token_cache(chain, tree, tmp_path):
    token, pretrain = (
        read_description(chain[name][0])['tokenizer'] for name in ('token', 'pretrain')
    )
    for found in (token, pretrain):
        assert (found['type'], found['vocab_size'], found['stride']) == ('DVAETokenizer', 16, 8)
        assert found['images']['range'] == [0.0, 1.0] and found['images']['channel_order'] == 'RGB'
    assert token['weights_sha256'] == pretrain['weights_sha256']
    state = read_checkpoint(chain['token'][0])['state_dict']
    assert token['weights_sha256'] == weights_sha256(state)
    config = small(PRETRAIN, tree, tmp_path, str(chain['token'][0]))
    model = Runner.from_cfg(config).model
    model.tokenizer.init_weights()
    assert pretrain['sha256'] == model.cached_tokens.sha256()


def test_description__of_averaged_and_best_weights(tree, tmp_path):
    config = small(TOKENIZER, tree, tmp_path / 'ema', optim_wrapper__optimizer__lr=0.1)
    config.custom_hooks = [dict(type='EMAHook', momentum=0.4)]
    config.train_cfg.max_iters = 2
    path, _ = train(config)
    checkpoint = read_checkpoint(path.with_name('iter_2.pth'))
    found = description_of(checkpoint)['tokenizer']['weights_sha256']
    assert found == weights_sha256(checkpoint['state_dict'])
    live = {n.removeprefix('module.'): t for n, t in checkpoint['ema_state_dict'].items()}
    live.pop('steps')
    assert set(live) == set(checkpoint['state_dict']) and found != weights_sha256(live)


# ---- a stage that differs ----

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.mark.parametrize(
    ('name', 'stage', 'options', 'key', 'texts'),
    [
        (
            CLASSIFY,  # BEiT v2's normalization after v1's
            'pretrain',
            {f'data_preprocessor__{name}': value for name, value in IMAGENET.items()},
            'data_preprocessor.mean',
            ('[127.5, 127.5, 127.5]', '[63.75, 63.75, 63.75]', '123.675', '57.12'),
        ),
        (
            SEGMENT,
            'pretrain',
            {f'model__data_preprocessor__{name}': value for name, value in IMAGENET.items()},
            'model.data_preprocessor.mean',
            ('[127.5, 127.5, 127.5]', '123.675'),
        ),
        (
            CLASSIFY,
            'pretrain',
            dict(data_preprocessor__mean=[0.5], data_preprocessor__std=[0.25]),
            'data_preprocessor.mean',
            ('in units of [0, 1]',),
        ),
        (
            CLASSIFY,
            'pretrain',
            dict(data_preprocessor__mean=None, data_preprocessor__std=None),
            'data_preprocessor.mean',
            ('mean=[0.0] and std=[1.0]',),
        ),
        (
            CLASSIFY,
            'pretrain',
            dict(data_preprocessor__to_rgb=False),
            'data_preprocessor.to_rgb',
            ('channels RGB, but here they are BGR',),
        ),
        (
            SEGMENT,
            'pretrain',
            dict(model__data_preprocessor__bgr_to_rgb=False),
            'model.data_preprocessor.bgr_to_rgb',
            ('channels RGB, but here they are BGR',),
        ),
        (
            PRETRAIN,
            'token',
            dict(data_preprocessor__token_scale=300.0),
            'data_preprocessor.token_scale',
            ('std=[255.0]', 'std=[300.0]'),
        ),
        (
            PRETRAIN,
            'token',
            dict(model__tokenizer__logit_scale=5.0),
            'model.tokenizer.logit_scale',
            ('5.0', '3.0'),
        ),
    ],
)
def test_difference__is_warned_of(chain, tree, tmp_path, name, stage, options, key, texts):
    start = str(chain[stage][0])
    config = small(name, tree, tmp_path / 'work', start, **options)
    if key == 'model.data_preprocessor.bgr_to_rgb':
        assert config.model.data_preprocessor.bgr_to_rgb is False
    log = begin(config)
    assert key in warned(log), log
    (line,) = [line for line in log.splitlines() if f'WARNING - {key}: ' in line]
    assert start in line and all(text in line for text in texts), line


@pytest.mark.parametrize('mode', ['ignore', 'error'])
def test_difference__as_the_option_says(chain, tree, tmp_path, mode):
    changes = {f'data_preprocessor__{name}': value for name, value in IMAGENET.items()}
    changes['default_hooks__load_report__between_stages'] = mode
    config = small(CLASSIFY, tree, tmp_path / 'work', str(chain['pretrain'][0]), **changes)
    if mode == 'error':
        with pytest.raises(StageMismatchError, match='data_preprocessor.mean'):
            begin(config)
    else:
        config.load_from = str(chain['classify'][0])
        assert warned(begin(config)) == []


@pytest.mark.parametrize(
    ('name', 'stage', 'options', 'message'),
    [
        (CLASSIFY, 'pretrain', dict(model__backbone__patch_size=16), 'patch_size: 16.*of 8 pixels'),
        (CLASSIFY, 'pretrain', dict(model__backbone__in_channels=4), 'in_channels: 4.*3 channels'),
        (PRETRAIN, 'token', dict(model__tokenizer__vocab_size=32), 'vocab_size: 32.*_size=16'),
        (PRETRAIN, 'token', dict(model__tokenizer__stride=4), 'stride: 4.*stride=8'),
    ],
)
def test_difference__that_cannot_be_loaded_is_an_error(
    chain, tree, tmp_path, name, stage, options, message
):
    options = dict(options)
    if 'model__tokenizer__vocab_size' in options:
        options['model__head__vocab_size'] = 32
    config = small(name, tree, tmp_path / 'work', str(chain[stage][0]), **options)
    with pytest.raises(StageMismatchError, match=message):
        begin(config)


def test_load_from__a_whole_model_is_compared(chain, tree, tmp_path):
    changes = {f'data_preprocessor__{name}': value for name, value in IMAGENET.items()}
    config = small(CLASSIFY, tree, tmp_path / 'work', **changes)
    config.model.backbone.init_cfg = None
    config.load_from = str(chain['classify'][0])
    log = begin(config)
    assert warned(log) == ['data_preprocessor.mean'] and config.load_from in log


def test_no_description_or_an_odd_one__nothing_is_said_and_nothing_breaks(chain, tree, tmp_path):
    checkpoint = read_checkpoint(chain['pretrain'][0])
    odd = copy.deepcopy(checkpoint['meta']['beit_mm'])
    later = dict(copy.deepcopy(odd), format=99)
    odd['images'].update(mean='gray', channel_order=['R'])
    odd['backbone'].update(patch_size='8', in_channels=None)
    odd['tokenizer'] = dict(vocab_size=[1], type=3, options=7, images='none')
    changes = {f'data_preprocessor__{name}': value for name, value in IMAGENET.items()}
    config = small(CLASSIFY, tree, tmp_path / 'work', str(chain['pretrain'][0]), **changes)
    runner = Runner.from_cfg(config)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, LoadReportHook))
    metas = (None, {}, dict(beit_mm=5), dict(beit_mm=later), dict(beit_mm=odd))
    for number, meta in enumerate(metas):
        path = tmp_path / f'{number}.pth'
        torch.save(dict(state_dict=checkpoint['state_dict'], meta=meta), path)
        runner.model.backbone.init_cfg.checkpoint = str(path)
        hook.before_run(runner)
        hook.after_load_checkpoint(runner, read_checkpoint(path))
    assert warned(log_of(runner)) == []
    runner.model.backbone.init_cfg.checkpoint = str(chain['pretrain'][0])
    hook.before_run(runner)
    assert warned(log_of(runner)) == ['data_preprocessor.mean']


def test_description_of_format_1__is_read_without_digests_of_the_tokenizer(chain):
    """They count names in its state dict that are others now."""
    checkpoint = read_checkpoint(chain['pretrain'][0])
    stored = checkpoint['meta']['beit_mm']
    assert stored['format'] == 3 and {'sha256', 'weights_sha256'} < set(stored['tokenizer'])
    checkpoint['meta']['beit_mm'] = dict(copy.deepcopy(stored), format=1)
    old = description_of(checkpoint)
    for name in ('sha256', 'weights_sha256'):
        assert stored['tokenizer'].pop(name) and name not in old['tokenizer']
    assert dict(old, format=3, code=None) == dict(stored, code=None)


@pytest.mark.parametrize(('kind', 'keys'), [('A', []), ('B', ['model.tokenizer.features'])])
def test_options__where_the_weights_of_a_part_came_from_is_no_difference(kind, keys):
    found = dict(features=dict(type='A', init_cfg=dict(checkpoint='a.pth')))  # as it was stored
    here = dict(features=dict(type=kind))
    pair = (dict(tokenizer=dict(options=options)) for options in (found, here))
    told = differences(*pair, 'f.pth', part='tokenizer')
    assert [difference.place for difference in told] == keys


# ---- resume ----


@pytest.fixture(scope='module')
def other_tokenizer(chain, tmp_path_factory) -> str:
    """The tokenizer of the chain, with another number somewhere."""
    checkpoint = read_checkpoint(chain['token'][0])
    (codebook,) = (t for n, t in checkpoint['state_dict'].items() if n.endswith('codebook'))
    codebook[0, 0] += 1e-6
    path = tmp_path_factory.mktemp('other') / 'token.pth'
    torch.save(checkpoint, path)
    return str(path)


def resumed(tree, work_dir, start, checkpoint, mode='report') -> Config:
    config = small(PRETRAIN, tree, work_dir, start)
    config.load_from, config.resume = str(checkpoint), True
    config.default_hooks.load_report.between_stages = mode
    return config


def test_resume__with_the_same_tokenizer(chain, tree, tmp_path):
    config = resumed(tree, tmp_path / 'work', str(chain['token'][0]), chain['pretrain'][0])
    assert warned(begin(config)) == []


def test_resume__with_another_tokenizer_is_an_error(chain, tree, tmp_path, other_tokenizer):
    checkpoint = chain['pretrain'][0]
    theirs = read_description(checkpoint)['tokenizer']['weights_sha256'][:16]
    ours = weights_sha256(read_checkpoint(other_tokenizer)['state_dict'])[:16]
    with pytest.raises(StageMismatchError, match=f'init_cfg: .*{theirs}.*{ours}.*resume=False'):
        begin(resumed(tree, tmp_path / 'error', other_tokenizer, checkpoint))
    log = begin(resumed(tree, tmp_path / 'warn', other_tokenizer, checkpoint, mode='warn'))
    assert warned(log) == ['model.tokenizer.init_cfg']


def test_load_from__another_tokenizer_is_warned_of(chain, tree, tmp_path, other_tokenizer):
    config = small(PRETRAIN, tree, tmp_path / 'work', other_tokenizer)
    config.load_from = str(chain['pretrain'][0])
    assert warned(begin(config)) == ['model.tokenizer.init_cfg']


def test_resume__random_tokenizer_is_that_of_the_checkpoint(chain, tree, tmp_path):
    config = resumed(tree, tmp_path / 'work', '', chain['pretrain'][0])
    config.model.tokenizer.init_cfg = None
    assert warned(begin(config)) == []


def test_resume__another_seed_of_a_random_projection_is_an_error(tree, tmp_path):
    name = 'pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py'

    def config(seed):
        made = small(name, tree, tmp_path / str(seed))
        made.model.head.vocab_size = made.model.tokenizer.vocab_size
        made.model.tokenizer.seed = seed
        return made

    checkpoint, _ = train(config(1))
    for seed in (1, 2):
        again = config(seed)
        again.load_from, again.resume, again.work_dir = str(checkpoint), True, str(tmp_path / 'w')
        if seed == 1:
            assert warned(begin(again)) == []
        else:
            with pytest.raises(StageMismatchError, match='model.tokenizer.init_cfg'):
                begin(again)


# ---- before anything is built ----


def test_check_config__agrees_with_the_hook_on_the_shipped_chain(chain, tree, tmp_path):
    """The same parts, from the config alone and from the model."""
    for name, start in ((TOKENIZER, None), (PRETRAIN, 'token'), (CLASSIFY, 'pretrain')):
        start = None if start is None else str(chain[start][0])
        config = small(name, tree, tmp_path / name, start)
        here = here_of(Runner.from_cfg(copy.deepcopy(config)).model, config)
        parts = parts_of_config(config)
        for part in ('images', 'tokenizer'):
            assert parts.get(part) == here.get(part), name
        for key, value in parts.get('backbone', {}).items():
            assert here['backbone'][key] == value
        assert not [*check_stages(config)]


@pytest.mark.parametrize(
    ('name', 'stage', 'options', 'key', 'level'),
    [
        (CLASSIFY, 'pretrain', dict(data_preprocessor__mean=[1.0]), 'data_preprocessor.mean', 'w'),
        (
            SEGMENT,
            'pretrain',
            dict(model__data_preprocessor__mean=[1.0]),
            'model.data_preprocessor.mean',
            'w',
        ),
        (CLASSIFY, 'token', {}, 'model.backbone.init_cfg.checkpoint', 'e'),
        (
            CLASSIFY,
            'pretrain',
            dict(data_preprocessor__to_rgb=False),
            'data_preprocessor.to_rgb',
            'w',
        ),
        (
            SEGMENT,
            'pretrain',
            dict(model__backbone__patch_size=16),
            'model.backbone.patch_size',
            'e',
        ),
        (
            PRETRAIN,
            'token',
            dict(model__tokenizer__vocab_size=9),
            'model.tokenizer.vocab_size',
            'e',
        ),
        (
            PRETRAIN,
            'token',
            dict(data_preprocessor__token_scale=99.0),
            'data_preprocessor.token_scale',
            'w',
        ),
    ],
)
def test_check_config__difference_is_a_finding(
    chain, tree, tmp_path, name, stage, options, key, level
):
    start = str(chain[stage][0])
    config = small(name, tree, tmp_path, start, **options)
    found = {finding.place: finding for finding in check_stages(config)}
    assert found[key].level[0] == level and start in found[key].message
    config.default_hooks.load_report.between_stages = 'ignore'
    assert not [*check_stages(config)]


def test_check_config__missing_file_is_no_finding(tree, tmp_path):
    config = small(CLASSIFY, tree, tmp_path, str(tmp_path / 'none.pth'))
    config.load_from = 'https://example.com/none.pth'
    assert not [*check_stages(config)]
