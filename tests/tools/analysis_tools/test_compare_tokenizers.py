import argparse
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from sklearn.linear_model import LogisticRegression

from beit_mm.engine.launch import UserError
from beit_mm.evaluation import frozen_probes

ROOT = Path(__file__).resolve().parents[3]
spec = importlib.util.spec_from_file_location(
    'compare_tokenizers', ROOT / 'tools/analysis_tools/compare_tokenizers.py'
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def comparison(tmp_path):
    args = argparse.Namespace(
        tokenizers=[],
        data=tmp_path / 'data',
        work_dir=tmp_path / 'work',
        pretrain=ROOT / 'configs/pretrain/beit_beit-micro-p8_digit-scenes.py',
        steps=600,
        labelled='meta/list.txt',
        seeds=[3],
        speed=False,
        smoke=False,
        stride=None,
        dense=None,
        perceptual=None,
        train_folder=None,
        val_folder=None,
    )
    return tool.Comparison(args, seed=3)


def clusters():
    means = 3 * torch.randn(4, 6)
    labels = torch.arange(160) % 4
    return means[labels] + torch.randn(160, 6), labels


def test_linear_probe__against_scikit_learn():
    feats, labels = clusters()
    train, val = feats[:120], feats[120:]
    standard = [(part - train.mean(0)) / train.std(0) for part in (train, val)]
    # Its penalty is |w|^2 / (2 C n) beside the mean loss.
    reference = LogisticRegression(C=1 / (2 * 120 * frozen_probes.PROBE_DECAY), max_iter=1000)
    reference.fit(standard[0].numpy(), labels[:120].numpy())
    got = frozen_probes.linear_probe(train, labels[:120], val)
    assert (got.numpy() == reference.predict(standard[1].numpy())).mean() > 0.97
    assert frozen_probes.accuracy(got, labels[120:]) > 80


def test_knn__votes_of_the_nearest_by_cosine():
    train = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 5.0], [0.1, 9.0]])
    labels = torch.tensor([0, 0, 1, 1])
    val = torch.tensor([[100.0, 1], [0.01, 1]])
    assert frozen_probes.knn(train, labels, val).tolist() == [0, 1]
    feats, labels = clusters()
    assert (
        frozen_probes.accuracy(
            frozen_probes.knn(feats[:120], labels[:120], feats[120:]), labels[120:]
        )
        > 80
    )


def test_mim_config__the_schedule_in_proportion_and_the_tokenizer_in_its_place(comparison):
    before = comparison.pretrain.pretty_text
    tokenizer = Config(dict(type='FSQTokenizer', levels=[5, 3])).to_dict()
    config = comparison.mim_config(tokenizer, 15)
    assert comparison.pretrain.pretty_text == before
    assert config.model.tokenizer == tokenizer and config.model.head.vocab_size == 15
    assert config.train_cfg.max_iters == config.train_cfg.val_interval == 600
    assert [(s.begin, s.end) for s in config.param_scheduler] == [(0, 48), (48, 600)]
    assert config.train_dataloader.dataset.data_root == str(comparison.data / 'unlabelled')
    assert config.val_dataloader.dataset.data_root == str(comparison.data / 'val')
    assert config.randomness.seed == 3


def test_stage__computed_again_only_when_something_changed(comparison, tmp_path):
    weights = tmp_path / 'weights.pth'
    weights.write_bytes(b'1')
    calls = []

    def compute():
        calls.append(1)
        return dict(x=len(calls))

    def figures(inputs):
        return comparison.stage(tmp_path / 'a/quality.json', inputs, [str(weights)], compute)

    assert figures([1]) == figures([1]) == dict(x=1)
    assert figures([2]) == dict(x=2)
    weights.write_bytes(b'2')
    assert figures([2]) == dict(x=3)


def test_train__finished_ones_are_skipped_and_others_start_anew(comparison, monkeypatch):
    commands = []

    def call(command, **kwargs):
        commands.append(command)
        out = Path(command[command.index('--work-dir') + 1])
        assert not list(out.glob('*.pth'))
        (out / 'iter_9.pth').touch()
        return 0

    monkeypatch.setattr(tool.subprocess, 'call', call)
    config = Config(dict(train_cfg=dict(max_iters=9), seed=0))
    for _ in range(2):
        assert Path(comparison.train('a', 'tokenizer', config)).name == 'iter_9.pth'
    assert len(commands) == 1 and '--resume' in commands[0]
    config.seed = 1
    comparison.train('a', 'tokenizer', config)
    assert len(commands) == 2


def test_train__a_failure_shows_the_end_of_its_log(comparison, monkeypatch):
    def call(command, stdout, **kwargs):
        stdout.write('first\nthe vocabulary has collapsed\n')
        return 1

    monkeypatch.setattr(tool.subprocess, 'call', call)
    with pytest.raises(UserError, match='(?s)has collapsed.*a, tokenizer: exit status 1'):
        comparison.train('a', 'tokenizer', Config(dict(train_cfg=dict(max_iters=9))))


def test_write__table_and_json_with_gaps(comparison):
    rows = [dict(name='a', seed=0, psnr=20.127, vocab_size=256), dict(name='b', seed=0, knn=1.0)]
    tool.write(comparison.args, rows)
    lines = (comparison.args.work_dir / 'table.md').read_text().splitlines()
    assert lines[0].startswith('| tokenizer | V |') and '| a | 256 |  | 20.13 |' in lines[2]
    assert 'images/s' not in lines[0] and 'feature distance' not in lines[0]
    assert '| 1.00 |' in lines[3] and 'compare_tokenizers.py' in lines[-1]
    stored = json.loads((comparison.args.work_dir / 'results.json').read_text())
    assert stored['tokenizers'] == rows and stored['seeds'] == [3]


def test_table__mean_and_range_of_seeds_and_failures():
    rows = [
        dict(name='a', seed=0, vocab_size=8, psnr=20.0, images_per_second=7.0),
        dict(name='b', seed=0, failed='collapsed'),
        dict(name='a', seed=1, vocab_size=8, psnr=23.0),
        dict(name='b', seed=1, vocab_size=8, psnr=1.0),
    ]
    head, _, a, b = tool.table(rows).splitlines()
    assert head.count('|') == a.count('|') == b.count('|') and 'images/s' in head
    assert a.startswith('| a | 8 |  | 21.50 (20.00 to 23.00) |')
    assert b.startswith('| b (1 failed) | 8 |  | 1.00 |')


def test_compare__a_failure_leaves_the_others(comparison, monkeypatch, capsys):
    def one(self, name, config, checkpoint):
        if 'fsq' in name and self.seed == 1:
            raise UserError('the vocabulary has collapsed')
        return dict(psnr=20.0 + self.seed)

    monkeypatch.setattr(tool.Comparison, 'one', one)
    comparison.args.seeds = [1, 2]
    comparison.args.tokenizers = [
        'configs/tokenizer/fsq_8x6x5-v240_digit-scenes.py',
        'configs/tokenizer/lfq_v256_digit-scenes.py',
    ]
    results = tool.compare(comparison.args)
    assert [row.get('psnr') for row in results] == [None, 21.0, 22.0, 22.0]
    assert results[0]['failed'] == 'the vocabulary has collapsed'
    monkeypatch.setattr(tool, 'parse_args', lambda: comparison.args)
    with pytest.raises(UserError, match=r'fsq_8x6x5-v240_digit-scenes \(seed 1\); the reasons'):
        tool.main()


def test_stride_and_folders__of_the_images_at_hand(comparison):
    kmeans = dict(type='KMeansTokenizer', stride=8, features=dict(type='P', patch_size=8))
    comparison.set_stride(kmeans)
    assert kmeans['stride'] == kmeans['features']['patch_size'] == 8
    comparison.args.stride = 4
    comparison.set_stride(kmeans)
    assert kmeans['stride'] == kmeans['features']['patch_size'] == 4
    comparison.args.train_folder, comparison.args.val_folder = 'tiles', 'test'
    other = tool.Comparison(comparison.args, seed=0)
    config = other.mim_config(dict(type='FSQTokenizer'), 15)
    assert config.train_dataloader.dataset.data_root == str(comparison.data / 'tiles')
    assert config.val_dataloader.dataset.data_root == str(comparison.data / 'test')


def test_patch_labels__the_commonest_class_without_void():
    mask = torch.tensor([[0, 0, 1, 2], [0, 1, 2, 9], [9, 9, 9, 9], [9, 1, 3, 3]])
    assert frozen_probes.patch_labels(mask, (2, 2), num_classes=4).tolist() == [0, 2, -1, -1]
    assert frozen_probes.patch_labels(mask, (1, 2), num_classes=4).tolist() == [0, 2]


class SumsOfPatches(torch.nn.Module):
    """A backbone whose only feature is the patch's sum, after a class token."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def backbone(self, images):
        patches = images.unfold(2, 2, 2).unfold(3, 2, 2).sum((1, 4, 5)).flatten(1)
        return [torch.cat([torch.zeros(len(images), 1), patches], 1)[..., None]]


@pytest.mark.parametrize('dense', [False, True])
def test_labelled_features__rows_and_labels_belong_together(tmp_path, dense):
    images = np.random.RandomState(0).randint(0, 256, (3, 4, 4, 3), np.uint8)
    rows = []
    for i, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f'{i}.png'), image)
        # classes by the first pixel of each patch, one patch of void
        mask = np.kron(image[::2, ::2, 0] % 5, np.ones((2, 2), np.uint8))
        mask[:2, :2] = 255
        cv2.imwrite(str(tmp_path / f'{i}_mask.png'), mask)
        rows.append((tmp_path / f'{i}.png', tmp_path / f'{i}_mask.png' if dense else i))
    norm = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1), torch.full((3, 1, 1), 2.0)
    feats, labels = frozen_probes.labelled_features(
        SumsOfPatches(), *norm, rows, num_classes=5 if dense else None
    )
    values = (images[..., ::-1] - np.array([1.0, 2.0, 3.0])) / 2
    sums = values.reshape(3, 2, 2, 2, 2, 3).sum((2, 4, 5)).reshape(3, 4)
    classes = (images[:, ::2, ::2, 0] % 5).reshape(3, 4)
    if dense:
        expected = list(zip(sums[:, 1:].flatten(), classes[:, 1:].flatten(), strict=True))
    else:
        expected = list(zip(sums.mean(1), range(3), strict=True))
    got = zip(feats[:, 0].tolist(), labels.tolist(), strict=True)
    assert sorted(got) == [(pytest.approx(s), c) for s, c in sorted(expected)]


def test_labelled_features__a_mask_of_three_channels(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((4, 4, 3), np.uint8))
    norm = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    rows = [(tmp_path / '0.png', tmp_path / '0.png')]
    with pytest.raises(ValueError, match='0.png: an image of 3 channels, expected a mask'):
        frozen_probes.labelled_features(SumsOfPatches(), *norm, rows, num_classes=5)


def test_entries__names_twice_and_missing_checkpoints(comparison):
    config = 'configs/tokenizer/fsq_8x6x5-v240_digit-scenes.py'
    with pytest.raises(UserError, match='no checkpoint nowhere.pth'):
        comparison.entry(f'{config}=nowhere.pth')
    comparison.args.tokenizers = [config, config]
    with pytest.raises(UserError, match='more than once'):
        comparison.entries()


def test_labelled__lines_and_folders(comparison):
    (comparison.data / 'meta').mkdir(parents=True)
    (comparison.data / 'meta/list.txt').write_text('7/a b.png 7\n\n0/c.png 0\n')
    assert comparison.labelled() == [
        (comparison.data / 'train/7/a b.png', 7),
        (comparison.data / 'train/0/c.png', 0),
    ]
    for name in ('cat/2.png', 'cat/1.png', 'ant/3.png'):
        (comparison.data / 'val' / name).parent.mkdir(parents=True, exist_ok=True)
        (comparison.data / 'val' / name).touch()
    rows = [(path.name, label) for path, label in comparison.validation()]
    assert rows == [('3.png', 0), ('1.png', 1), ('2.png', 1)]
    (comparison.data / 'meta/list.txt').unlink()  # then all of DIR/train
    (comparison.data / 'val').rename(comparison.data / 'train')
    assert [(path.name, label) for path, label in comparison.labelled()] == rows
    comparison.args.dense = 2
    masks = [mask for _, mask in comparison.labelled()]
    assert masks[0] == comparison.data / 'masks/train/ant/3.png' and len(masks) == 3


def test_default__configs_exist():
    assert all((ROOT / path).is_file() for path in tool.DEFAULT)


BACKBONE = """
backbone = dict(type='mmpretrain.VGG', depth=11, out_indices=(0,))
mean = [0.5] * 3
std = [0.25] * 3
"""


def test_quality__feature_distance_is_the_mean_over_images(comparison, tmp_path, monkeypatch):
    (tmp_path / 'backbone.py').write_text(BACKBONE)
    comparison.args.perceptual = tmp_path / 'backbone.py'
    torch.manual_seed(0)
    comparison = tool.Comparison(comparison.args, seed=0)
    images = torch.rand(3, 3, 32, 32)
    monkeypatch.setattr(comparison, 'batches', lambda: [images[:2], images[2:]])
    tiny = dict(type='DVAETokenizer', vocab_size=8, width=8, num_blocks=1, code_dim=4)
    model = comparison.build(tiny)
    monkeypatch.setattr(comparison, 'build', lambda config: model)
    got = comparison.quality(tiny)
    recon = model.decode(model.encode(images))
    assert got['feature_distance'] == pytest.approx(
        comparison.perceptual.distance(recon, images).item(), rel=1e-4
    )
    assert got['tokens_per_image'] == 16 and got['validation_images'] == 3


def test_speed__images_of_the_best_of_five_passes(comparison, monkeypatch):
    class Encoder:
        def encode(self, images):
            return images.mean((1, 2, 3))

    batches = [torch.zeros(4, 3, 8, 8), torch.zeros(2, 3, 8, 8)]
    monkeypatch.setattr(comparison, 'build', lambda tokenizer: Encoder())
    monkeypatch.setattr(comparison, 'batches', lambda: batches)
    clock = iter([0, 0.5, 1, 1.25, 2, 3, 4, 5, 6, 7])
    monkeypatch.setattr(tool.time, 'perf_counter', lambda: next(clock))
    assert comparison.speed({}) == 6 / 0.25


def test_row__without_steps_there_is_no_pre_training(comparison, monkeypatch):
    trained = []

    def train(name, stage, config):
        trained.append(stage)
        return __file__  # any file

    monkeypatch.setattr(comparison, 'train', train)
    quality = dict(vocab_size=256, psnr=20.0)
    monkeypatch.setattr(comparison, 'quality', lambda tokenizer: quality)
    monkeypatch.setattr(comparison, 'speed', lambda tokenizer: 7.0)
    comparison.args.steps, comparison.args.speed = 0, True
    [(name, config, _), *_] = comparison.entries()
    row = comparison.row(name, config, None)
    assert trained == ['tokenizer']
    assert row == dict(name=name, seed=3, **quality, images_per_second=7.0)
    heading, _, values = tool.table([row]).splitlines()
    assert heading.endswith('| perplexity | images/s |') and values.endswith('| 7 |')
