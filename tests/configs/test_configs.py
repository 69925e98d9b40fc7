"""Every config of the repository: what its name and docstring say, and one step of what it runs."""

import ast
import copy
import importlib.util
import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from beit_mm.engine.launch import load_config
from beit_mm.models import BEiTEncoder
from beit_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
LEAVES = sorted(p.relative_to(CONFIGS) for p in CONFIGS.glob('*/*.py') if p.parts[-2] != '_base_')
SMALL = dict(embed_dims=32, num_heads=2)  # and as many layers as are asked for

leaves = pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.stem)


@cache
def loaded(leaf: Path) -> Config:
    """For reading: it is the same object for all."""
    return load_config(CONFIGS / leaf)


# ---- names and docstrings ----


def bases(path: Path) -> list[Path]:
    """``path`` and all that it inherits."""
    found = [path]
    for name in Config._get_base_files(str(path)):
        found += bases((path.parent / name).resolve())
    return found


@leaves
def test_docstring_has_the_command(leaf):
    text = ast.get_docstring(ast.parse((CONFIGS / leaf).read_text()))
    assert text, 'no docstring'
    command = re.search(rf'(python tools/train\.py|bash tools/dist_train\.sh) configs/{leaf}', text)
    assert command, text
    if command[1].startswith('bash'):
        processes = re.search(rf'dist_train\.sh configs/{leaf} (\d+)', text)
        named = re.search(r'_(\d+)xb\d+', leaf.stem)
        assert processes[1] == named[1]


@leaves
def test_name_says_what_runs(leaf):
    """{algorithm}_{module}_{pretrain}_{training}_{data}: those parts that there are."""
    config = loaded(leaf)
    assert re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*(_[a-z0-9]+(-[a-z0-9]+)*){1,4}', leaf.stem)
    parts = leaf.stem.split('_')
    data = {p.stem.split('_')[0] for p in bases(CONFIGS / leaf) if p.parent.name == 'datasets'}
    assert any(parts[-1] == name or parts[-1].startswith(f'{name}-') for name in data), data

    words = [word for part in parts for word in part.split('-')]
    if batch := re.search(r'_(\d+)xb(\d+)', leaf.stem):
        processes, per_process = map(int, batch.groups())
        assert config.train_dataloader.batch_size == per_process
        accumulated = config.optim_wrapper.get('accumulative_counts', 1)
        assert config.auto_scale_lr.base_batch_size == processes * per_process * accumulated
    if 'amp' in words:
        assert config.optim_wrapper.type.endswith('AutocastOptimWrapper')
    for word in parts[-2].split('-'):  # the training
        if length := re.fullmatch(r'(\d+)(e|i|k)', word):
            number = int(length[1]) * (1000 if length[2] == 'k' else 1)
            assert config.train_cfg['max_epochs' if length[2] == 'e' else 'max_iters'] == number
    for size in re.findall(r'(\d+)x\1', parts[-1]):
        assert tuple(config.data_preprocessor.size) == (int(size), int(size))


# ---- what one stage leaves for the next ----


def pretrained(node, path='model'):
    """(path, init_cfg) of everything that starts from a checkpoint."""
    if isinstance(node, dict):
        if node.get('type') == 'Pretrained':
            yield path, node
        for key, value in node.items():
            yield from pretrained(value, f'{path}.{key}')


def handed_over(leaf):
    """(path, the part that starts from a checkpoint, leaf and config that write the checkpoint)."""
    config = loaded(leaf)
    for path, init_cfg in pretrained(config.model):
        checkpoint = Path(init_cfg.checkpoint)
        if checkpoint.parts[0] != 'work_dirs':
            continue
        (source,) = [other for other in LEAVES if other.stem == checkpoint.parts[1]]
        part = config.model
        for key in path.split('.')[1:-1]:
            part = part[key]
        yield checkpoint, part, source, loaded(source)


@leaves
def test_checkpoint_of_the_stage_before_is_its_last_one(leaf):
    for checkpoint, _, _, source in handed_over(leaf):
        train = source.train_cfg
        last = f'epoch_{train.max_epochs}' if 'max_epochs' in train else f'iter_{train.max_iters}'
        assert checkpoint.stem == last


@leaves
def test_model_and_pixels_equal_those_of_the_stage_before(leaf):
    config = loaded(leaf)
    for _, part, source_leaf, source in handed_over(leaf):
        if source_leaf.parts[0] == 'tokenizer':
            training_only = (
                'kl_weight',
                'usage_weight',
                'temperature',
                'init_cfg',
                'teacher',
                'decoder_layers',
            )
            own, theirs = (
                {k: v for k, v in model.items() if k not in training_only}
                for model in (part, source.model)
            )
            assert own == theirs
            continue
        before = source.model.backbone
        for key in ('arch', 'patch_size'):
            assert part[key] == before[key]
        for key in ('layer_scale_init', 'abs_pos', 'rel_pos'):  # there or not there
            assert bool(part.get(key)) == bool(before.get(key)), key
        if leaf.parts[0] == 'tokenizer':  # pixels in [0, 1] here, and the teacher's own mapping
            teacher = config.model.get('features', config.model.get('teacher'))
            for key in ('mean', 'std'):
                own = [255 * value for value in teacher[key]]
                assert own == source.data_preprocessor[key]
            continue
        for key in ('mean', 'std'):
            assert config.data_preprocessor[key] == source.data_preprocessor[key], key
        rgb = [p.get('bgr_to_rgb') or p.get('to_rgb') for p in (config.data_preprocessor,)]
        assert rgb == [source.data_preprocessor.bgr_to_rgb]


# ---- one step, on models cut down by options ----


def cut_down(model) -> dict:
    """Options, as --cfg-options takes them, that make the model of a config small."""
    options = {}
    widths = set()

    def walk(node, path):
        if isinstance(node, list):
            for index, value in enumerate(node):
                walk(value, f'{path}.{index}')
        if not isinstance(node, dict):
            return
        if node.get('type') == 'Pretrained':
            options[path] = None
        if node.get('type') == 'SyncBN':
            options[f'{path}.type'] = 'BN'
        if str(node.get('type')).endswith('DALLETokenizer'):
            options.update({f'{path}.width': 4, f'{path}.num_blocks': 1, f'{path}.code_dim': 8})
        elif str(node.get('type')).endswith('DVAETokenizer'):
            options[f'{path}.width'] = 16
        if str(node.get('type')).endswith('PatchAggregationNeck'):
            options.update({f'{path}.early_layer': 1, f'{path}.depth': 2})
        if node.get('arch') in BEiTEncoder.arch_settings and node['arch'] != 'micro':
            widths.add(BEiTEncoder.arch_settings[node['arch']]['embed_dims'])
            outputs = node.get('out_indices', -1)
            layers = 2
            if not isinstance(outputs, int):
                layers = max(layers, len(outputs))
                options[f'{path}.out_indices'] = list(range(layers - len(outputs), layers))
            elif outputs > 0:
                options[f'{path}.out_indices'] = 0
            options[f'{path}.arch'] = dict(_delete_=True, **SMALL, num_layers=layers)
        for key, value in node.items():
            if key == 'teacher' and value is not None:
                backbone = dict(
                    type='BEiTEncoder',
                    arch=dict(SMALL, num_layers=1),
                    out_type='featmap',
                    img_size=node.get('img_size', 224),
                    patch_size=node.get('patch_size', 16),
                )
                options[f'{path}.teacher'] = dict(
                    _delete_=True, type='BackboneTeacher', dims=32, backbone=backbone
                )
            else:
                walk(value, f'{path}.{key}')

    def narrow(node, path, key):
        if isinstance(node, dict):
            for name, value in node.items():
                if name not in ('teacher', 'arch'):
                    narrow(value, f'{path}.{name}', name)
        elif key in ('dims', 'channels', 'in_channels', 'embed_dim', 'embed_dims'):
            if isinstance(node, int) and node in widths:
                options[path] = SMALL['embed_dims']
            elif isinstance(node, list | tuple) and set(node) <= widths:
                options[path] = [SMALL['embed_dims']] * len(node)
        elif key == 'num_heads':
            options[path] = SMALL['num_heads']

    walk(model, 'model')
    if widths:
        narrow(model, 'model', 'model')
    return options


def options_of(config, work_dir) -> dict:
    """One step with two images, one batch of validation, no other processes, a small model."""
    options = {
        'work_dir': str(work_dir),
        'log_level': 'ERROR',
        'default_hooks.logger.interval': 1,
        'train_dataloader.batch_size': 2,
    }
    dataset = 'train_dataloader.dataset'
    if config.train_dataloader.dataset.type == 'CachedTokens':
        dataset += '.dataset'
    options |= {f'{dataset}.indices': 2, f'{dataset}.serialize_data': False}  # it collects garbage
    for name in ('train', 'val', 'test'):
        if config.get(f'{name}_dataloader'):
            options[f'{name}_dataloader.num_workers'] = 0
            options[f'{name}_dataloader.persistent_workers'] = False
        if name != 'train' and config.get(f'{name}_dataloader'):
            options[f'{name}_dataloader.batch_size'] = 1
            options[f'{name}_dataloader.dataset.indices'] = 1
            options[f'{name}_dataloader.dataset.serialize_data'] = False
    by_epoch = 'Epoch' in config.train_cfg.type
    options['train_cfg.max_epochs' if by_epoch else 'train_cfg.max_iters'] = 1
    if config.optim_wrapper.get('dtype') == 'float16':
        options['optim_wrapper.dtype'] = 'bfloat16'  # slow on CPUs, and its first steps overflow
    if config.default_scope == 'mmseg':
        options |= smaller(config, config.data_preprocessor.size[0])
    elif config.model.type == 'DALLETokenizer':
        options |= smaller(config, 256)
    return options | cut_down(config.model)


def smaller(config, crop: int) -> dict:
    """Crops of 64 pixels in the place of ``crop``, all other sizes in proportion."""
    divisor = max(crop // 64, 1)
    keys = ('scale', 'size', 'crop_size', 'stride', 'img_size')
    options = {}

    def walk(node, path):
        if isinstance(node, list | dict):
            for key, value in node.items() if isinstance(node, dict) else enumerate(node):
                walk(value, f'{path}.{key}')
        elif path.split('.')[-1] in keys:
            if isinstance(node, int):
                options[path] = node // divisor
            elif isinstance(node, tuple) and all(isinstance(side, int) for side in node):
                options[path] = tuple(side // divisor for side in node)

    for name in ('data_preprocessor', 'model', 'train_dataloader', 'val_dataloader'):
        walk(config[name], name)
    return options


def make_cache(config: Config, folder: Path) -> None:
    """The tokens that the config trains from, by a tokenizer of its own."""
    tokenizer = MODELS.build(config.model.tokenizer)
    for _ in range(20):  # its running statistics spread what it says over the codes
        tokenizer.logits(torch.rand(4, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3))
    torch.save(tokenizer.state_dict(), folder / 'tokenizer.pth')
    checkpoint = str(folder / 'tokenizer.pth')
    config.model.tokenizer.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    config.train_dataloader.dataset.cache_dir = str(folder / 'cache')
    uncached = copy.deepcopy(config)
    uncached.train_dataloader.dataset = config.train_dataloader.dataset.dataset
    path = ROOT / 'tools/analysis_tools/cache_tokens.py'
    spec = importlib.util.spec_from_file_location('tool_cache_tokens', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.cache_tokens(uncached, folder / 'cache', 1, 0, 2, 0, 4, 'cpu')


@leaves
def test_one_step(leaf, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tree)
    config = copy.deepcopy(loaded(leaf))
    config.merge_from_dict(options_of(config, tmp_path))
    if config.train_dataloader.dataset.type == 'CachedTokens':
        make_cache(config, tmp_path)
    runner = Runner.from_cfg(config)
    runner.train()

    scalars = runner.message_hub.log_scalars
    loss = scalars['train/loss'].current()
    assert math.isfinite(loss)
    assert runner.iter == 1
    if config.get('val_dataloader'):
        results = {k: v.current() for k, v in scalars.items() if k.startswith('val/')}
        assert any('time' not in name for name in results)
        assert all(math.isfinite(value) for value in results.values()), results
    if config.get('test_dataloader'):
        assert len(runner.test_loop.dataloader) == 1
        assert runner.test_loop.evaluator.metrics

    # Nothing is known at the start.
    if config.model.type == 'MaskedImageModel' and config.model.head.get('vocab_size'):
        terms = 2 if config.model.neck.type == 'PatchAggregationNeck' else 1
        assert loss == pytest.approx(terms * math.log(config.model.head.vocab_size), abs=0.1)
    if config.model.type == 'ImageClassifier':
        assert loss == pytest.approx(math.log(config.model.head.num_classes), abs=0.1)

    # All that can be trained has been, and is trained by several processes as well: DDP stops at
    # a parameter without gradient. What is frozen is not in the optimizer's groups.
    stepped = runner.optim_wrapper.optimizer.state
    trainable = {n: p for n, p in runner.model.named_parameters() if p.requires_grad}
    assert [name for name, parameter in trainable.items() if parameter not in stepped] == []
    groups = runner.optim_wrapper.optimizer.param_groups
    members = [id(parameter) for group in groups for parameter in group['params']]
    assert sorted(members) == sorted(map(id, trainable.values()))


# ---- a folder of one's own ----


def child(path: Path, base: str) -> Config:
    path.write_text(
        f"_base_ = '{CONFIGS / base}'\n"
        "train_dataloader = dict(dataset=dict(data_root='data/my_images'))\n"
    )
    return load_config(path)


@pytest.mark.parametrize('kind', ['folder', 'folder-4band'])
def test_child_of_a_folder_tokenizer__is_where_the_pre_training_reads_it(tmp_path, kind):
    tokenizer = child(tmp_path / 'mine.py', f'tokenizer/dvae_light-v1024_{kind}.py')
    beit = child(tmp_path / 'my_beit.py', f'pretrain/beit_beit-small-p16_{kind}.py')
    assert Path(beit.model.tokenizer.init_cfg.checkpoint).parent == Path(tokenizer.work_dir)


def test_three_line_children_for_a_folder_of_three_images(tree, tmp_path, monkeypatch):
    (tmp_path / 'data').symlink_to(tree / 'data')
    monkeypatch.chdir(tmp_path)
    tokenizer = child(tmp_path / 'my_tokenizer.py', 'tokenizer/dvae_light-v1024_folder.py')
    few = {
        'log_level': 'ERROR',
        'train_cfg.max_iters': 1,
        'train_dataloader.batch_size': 5,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
    }
    tokenizer.merge_from_dict(few | cut_down(tokenizer.model))
    Runner.from_cfg(tokenizer).train()

    beit = child(tmp_path / 'my_beit.py', 'pretrain/beit_beit-small-p16_folder.py')
    expected = Path(beit.model.tokenizer.init_cfg.checkpoint)
    assert [p.name for p in expected.parent.glob('*.pth')] == ['iter_1.pth']  # same folder
    (expected.parent / 'iter_1.pth').rename(expected)
    small = cut_down(beit.model)
    del small['model.tokenizer.init_cfg']
    beit.merge_from_dict(few | small | {'work_dir': str(tmp_path / 'beit')})
    runner = Runner.from_cfg(beit)
    runner.train()
    saved = torch.load(expected, weights_only=False)['state_dict']
    assert saved.keys() == runner.model.tokenizer.state_dict().keys()
    for name, tensor in runner.model.tokenizer.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
