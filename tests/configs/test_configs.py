"""Every config of the repository: what its name and docstring say, and one step of what it runs."""

import ast
import copy
import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from shipped_configs import CONFIGS, LEAVES, cut_down, ends_of, loaded, options_of

from beit_mm.cli.cache_tokens import cache_tokens
from beit_mm.cli.config_loading import load_config
from beit_mm.registry import MODELS

pytestmark = pytest.mark.slow

leaves = pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.stem)


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
        assert tuple(config.model.data_preprocessor.size) == (int(size), int(size))


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
        assert checkpoint.stem == last or not checkpoint.suffix  # a work dir


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
        own = config.get('data_preprocessor') or config.model.data_preprocessor
        for key in ('mean', 'std'):
            assert own[key] == source.data_preprocessor[key], key
        assert (own.get('bgr_to_rgb') or own.get('to_rgb')) == source.data_preprocessor.bgr_to_rgb


# ---- one step, on models cut down by options ----


def make_cache(config: Config, folder: Path) -> None:
    """The tokens that the config trains from, by a tokenizer of its own."""
    tokenizer = MODELS.build(config.model.tokenizer)
    for _ in range(20):  # its running statistics spread what it says over the codes
        tokenizer.posterior(torch.rand(4, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3))
    torch.save(tokenizer.state_dict(), folder / 'tokenizer.pth')
    checkpoint = str(folder / 'tokenizer.pth')
    config.model.tokenizer.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    config.train_dataloader.dataset.cache_dir = str(folder / 'cache')
    uncached = copy.deepcopy(config)
    uncached.train_dataloader.dataset = config.train_dataloader.dataset.dataset
    cache_tokens(uncached, folder / 'cache', 1, 0, 2, 0, 4, 'cpu')


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

    # Nothing is known at the start: a logit has a standard deviation of 0.12, the same for patches
    # that are alike.
    if config.model.type == 'MaskedImageModel' and config.model.tokenizer.get('vocab_size'):
        terms = 2 if config.model.neck.type == 'PatchAggregationNeck' else 1
        assert loss == pytest.approx(terms * math.log(config.model.tokenizer.vocab_size), abs=0.4)
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
    few = ends_of(tokenizer) | {
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
    beit.merge_from_dict(few | ends_of(beit) | small | {'work_dir': str(tmp_path / 'beit')})
    runner = Runner.from_cfg(beit)
    runner.train()
    saved = torch.load(expected, weights_only=False)['state_dict']
    assert saved.keys() == runner.model.tokenizer.state_dict().keys()
    for name, tensor in runner.model.tokenizer.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
