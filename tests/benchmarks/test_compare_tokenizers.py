import argparse
import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from sklearn.linear_model import LogisticRegression

from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import UserError
from beit_mm.engine import AttributeScheduleHook
from beit_mm.evaluation import frozen_probes
from benchmarks import compare_tokenizers as tool
from benchmarks.tokenizers import comparison as comparisons
from benchmarks.tokenizers import figures, labelled_features
from benchmarks.tokenizers.comparison import Comparison
from benchmarks.tokenizers.probe_images import ProbeImages
from benchmarks.tokenizers.shorten import shorten
from benchmarks.tokenizers.table import make_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def comparison(tmp_path):
    init_default_scope('beit_mm')
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
        tokenizer_steps=None,
        dense=None,
        perceptual=None,
        train_folder=None,
        val_folder=None,
    )
    return Comparison(args, seed=3)


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
    ends = [(s.get('begin'), s.get('end')) for s in config.param_scheduler]
    assert ends == [(None, 48), (48, None)]
    assert config.train_dataloader.dataset.data_root == str(comparison.images.root / 'unlabelled')
    assert config.val_dataloader.dataset.data_root == str(comparison.images.root / 'val')
    assert config.randomness.seed == 3


def test_shorten__all_that_has_an_end_in_proportion_and_no_law_or_value():
    config = load_config(ROOT / 'configs/tokenizer/dvae_light-v512_cifar10.py')
    warm_up = dict(type='linear', start=0.0, end=20.0, num_steps=1000)
    fall = dict(type='cosine', start=20.0, end=10.0, begin=1000, num_steps=4000)
    law = dict(type='compound', start=1.0, end=0.5, rate=1e-6, step_size=100)
    hook = config.custom_hooks[0]
    hook.schedules.update(kl_weight=[warm_up, fall], usage_weight=law)
    config.param_scheduler.append(dict(type='StepLR', step_size=100, gamma=0.9))
    config.custom_hooks.append(dict(type='CodebookGuardHook', grace=2000))
    config.custom_hooks.append(dict(type='EMAHook', begin_iter=4000, momentum=0.01))
    config.default_hooks.codebook_guard.grace = 400
    guard = config.custom_hooks[1]
    assert hook.type == 'AttributeScheduleHook'
    before = copy.deepcopy(config)
    shorten(config, 500)  # of 10,000
    assert config.train_cfg.max_iters == config.train_cfg.val_interval == 500
    assert (guard['grace'], config.default_hooks.codebook_guard.grace) == (100, 20)
    assert config.custom_hooks[2] == dict(type='EMAHook', begin_iter=200, momentum=0.01)
    ends = [(s.get('begin'), s.get('end')) for s in config.param_scheduler]
    assert ends == [(None, 10), (10, None), (None, None)]
    assert config.param_scheduler[2].step_size == 100
    assert hook.schedules['quantizer.temperature'] == dict(
        before.custom_hooks[0].schedules['quantizer.temperature'], num_steps=450
    )
    assert hook.schedules.kl_weight == [
        dict(warm_up, num_steps=50),
        dict(fall, begin=50, num_steps=200),
    ]
    assert hook.schedules.usage_weight == law
    shorten(config, 2)  # rounds to nothing
    assert [part.get('begin', 0) for part in hook.schedules.kl_weight] == [0, 1]
    AttributeScheduleHook(hook.schedules.to_dict())
    assert all(s.get('end', 2) > s.get('begin', 0) for s in config.param_scheduler)


def test_shorten__parts_that_are_missing_or_none():
    config = load_config(ROOT / 'configs/tokenizer/dvae_light-v512_cifar10.py')
    config.custom_hooks = config.default_hooks.sampler_seed = None
    config.param_scheduler = dict(type='CosineAnnealingLR', T_max=100, end=None)
    shorten(config, 20)  # of 10,000
    assert config.param_scheduler == [dict(type='CosineAnnealingLR', T_max=1, end=None)]
    assert 'grace' not in config.default_hooks.codebook_guard  # it takes a part of any run
    config.param_scheduler = [
        dict(type='OneCycleLR', eta_max=1.0, total_steps=20, by_epoch=False),
        dict(type='CosineRestartLR', periods=[5, 15], eta_min=0.0, by_epoch=False),
        dict(type='MultiStepLR', milestones=[1, 15], by_epoch=False),
    ]
    shorten(config, 2)  # of 20
    steps = [
        s.get('total_steps', s.get('periods', s.get('milestones'))) for s in config.param_scheduler
    ]
    assert steps == [2, [1, 2], [1, 2]]
    config.param_scheduler = None
    shorten(config, 10)
    assert config.param_scheduler == []
    config.train_cfg = dict(max_epochs=3)
    with pytest.raises(UserError, match='v512_cifar10.py: train_cfg.max_iters is missing'):
        shorten(config, 10)


def without_training(comparison, monkeypatch, tokenizer_steps) -> dict:
    """Stages that ``row`` would train, with their configs."""
    trained = {}
    monkeypatch.setattr(
        comparison, 'train', lambda name, stage, config: trained.update({stage: config}) or __file__
    )
    monkeypatch.setattr(comparison.figures, 'quality', lambda tokenizer: dict(vocab_size=256))
    comparison.args.steps, comparison.args.tokenizer_steps = 0, tokenizer_steps
    return trained


def test_row__k_means_keeps_its_one_pass(comparison, monkeypatch):
    trained = without_training(comparison, monkeypatch, tokenizer_steps=300)
    config = load_config(ROOT / 'configs/tokenizer/kmeans_pixels-v256_digit-scenes.py')
    batch_size = config.train_dataloader.batch_size
    monkeypatch.setattr(comparisons.DATASETS, 'build', lambda config: range(10 * batch_size + 1))
    comparison.row('kmeans', config, None)
    trained = trained['tokenizer']
    assert trained.train_cfg.max_iters == trained.train_cfg.val_interval == 11
    assert trained.model.seed == comparison.seed == 3


@pytest.mark.parametrize(('smoke', 'length'), [(False, 150), (True, 2)])
def test_row__tokenizers_of_one_length(comparison, monkeypatch, smoke, length):
    trained = without_training(comparison, monkeypatch, tokenizer_steps=150)
    comparison.args.smoke = smoke
    [(name, config, _), *_] = comparison.entries(tool.DEFAULT)
    comparison.row(name, config, None)
    assert trained['tokenizer'].train_cfg.max_iters == length
    assert 'end' not in trained['tokenizer'].param_scheduler[-1]  # it ends with the training


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

    monkeypatch.setattr(comparisons.subprocess, 'call', call)
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

    monkeypatch.setattr(comparisons.subprocess, 'call', call)
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
    head, _, a, b = make_table(rows).splitlines()
    assert head.count('|') == a.count('|') == b.count('|') and 'images/s' in head
    assert a.startswith('| a | 8 |  | 21.50 (20.00 to 23.00) |')
    assert b.startswith('| b (1 failed) | 8 |  | 1.00 |')
    rows[3]['collapsed'] = rows[2]['collapsed'] = True
    a, b = make_table(rows).splitlines()[2:]
    assert a.startswith('| a (1 collapsed) |') and b.startswith('| b (1 failed, 1 collapsed) |')


def test_quality__a_perplexity_under_that_of_the_guard_is_marked(comparison, monkeypatch):
    class Tokenizer(torch.nn.Module):
        vocab_size = 100

        def predict(self, images):
            return [dict(ids=ids) for ids in images]

    monkeypatch.setattr(comparison.figures, 'build', lambda tokenizer: Tokenizer())
    for codes, collapsed in ((4, True), (5, False)):
        ids = torch.arange(codes).repeat(100).view(-1, 2, 2)  # perplexity = codes
        monkeypatch.setattr(comparison.images, 'batches', lambda ids=ids: [ids])
        assert comparison.figures.quality({})['collapsed'] == collapsed


def test_labelled__without_a_list_all_classes_at_equal_distances(comparison, monkeypatch):
    rows = [(f'{i}.png', i // 390) for i in range(3900)]  # 10 classes
    monkeypatch.setattr(comparison.images, 'folder', lambda name: rows)
    labels = [label for _, label in comparison.images.labelled()]
    assert len(labels) == 2000 and [labels.count(k) for k in range(10)] == 10 * [200]
    monkeypatch.setattr(comparison.images, 'folder', lambda name: rows[:7])
    assert comparison.images.labelled() == rows[:7]


def test_row__whatever_fails_is_named(comparison, monkeypatch):
    def measure(*args):
        raise TypeError('unexpected keyword')

    monkeypatch.setattr(comparison, 'measure', measure)
    assert comparison.row('a', None, None)['failed'] == 'TypeError: unexpected keyword'


def test_compare__a_failure_leaves_the_others(comparison, monkeypatch, capsys):
    def measure(self, name, config, checkpoint):
        if 'fsq' in name and self.seed == 1:
            raise UserError('the vocabulary has collapsed')
        return dict(psnr=20.0 + self.seed)

    monkeypatch.setattr(Comparison, 'measure', measure)
    monkeypatch.setattr(ProbeImages, 'check_labels', lambda self: None)
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
    features = dict(type='P', patch_size=8)
    kmeans = ConfigDict(type='KMeansTokenizer', stride=8, features=features)
    comparison.set_stride(kmeans)
    assert kmeans['stride'] == kmeans['features']['patch_size'] == 8
    comparison.args.stride = 4
    comparison.set_stride(kmeans)
    assert kmeans['stride'] == kmeans['features']['patch_size'] == 4
    vqkd = ConfigDict(type='VQKDTokenizer', patch_size=8)
    comparison.set_stride(vqkd)
    assert vqkd.patch_size == 4 and 'stride' not in vqkd
    with pytest.raises(UserError, match='--stride 4: DALLETokenizer has 8 pixels'):
        comparison.set_stride(ConfigDict(type='DALLETokenizer'))
    comparison.args.train_folder, comparison.args.val_folder = 'tiles', 'test'
    other = Comparison(comparison.args, seed=0)
    config = other.mim_config(dict(type='FSQTokenizer'), 15)
    assert config.train_dataloader.dataset.data_root == str(comparison.images.root / 'tiles')
    assert config.val_dataloader.dataset.data_root == str(comparison.images.root / 'test')


def test_patch_labels__the_commonest_class_without_void():
    mask = torch.tensor([[0, 0, 1, 2], [0, 1, 2, 9], [9, 9, 9, 9], [9, 1, 3, 3]])
    assert labelled_features.patch_labels(mask, (2, 2), num_classes=4).tolist() == [0, 2, -1, -1]
    assert labelled_features.patch_labels(mask, (1, 2), num_classes=4).tolist() == [0, 2]


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
        # classes by the first pixel of each patch, one patch of void
        mask = np.kron(image[::2, ::2, 0] % 5, np.ones((2, 2), np.uint8))
        mask[:2, :2] = 255
        cv2.imwrite(str(tmp_path / f'{i}_mask.png'), mask)
        rows.append(tmp_path / f'{i}_mask.png' if dense else i)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    feats, labels = labelled_features.labelled_features(
        SumsOfPatches(), inputs.split(2), rows, num_classes=5 if dense else None
    )
    sums = images.astype(float).reshape(3, 2, 2, 2, 2, 3).sum((2, 4, 5)).reshape(3, 4)
    classes = (images[:, ::2, ::2, 0] % 5).reshape(3, 4)
    if dense:
        expected = list(zip(sums[:, 1:].flatten(), classes[:, 1:].flatten(), strict=True))
    else:
        expected = list(zip(sums.mean(1), range(3), strict=True))
    got = zip(feats[:, 0].tolist(), labels.tolist(), strict=True)
    assert sorted(got) == [(pytest.approx(s), c) for s, c in sorted(expected)]


@pytest.mark.parametrize(
    ('shape', 'message'),
    [((4, 4, 3), '0.png: an image of 3 channels'), ((8, 8), r'0.png: a mask of \(8, 8\), but')],
)
def test_labelled_features__a_mask_that_does_not_fit(tmp_path, shape, message):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=message):
        labelled_features.labelled_features(
            SumsOfPatches(), [torch.zeros(1, 3, 4, 4)], [tmp_path / '0.png'], num_classes=5
        )


def test_labelled_features__patches_of_images_that_are_not_square(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.kron([[0, 1, 2]], np.ones((2, 2))).astype(np.uint8))
    images = torch.arange(6.0).expand(1, 1, 2, 6)
    feats, labels = labelled_features.labelled_features(
        SumsOfPatches(), [images], [tmp_path / '0.png'], num_classes=3
    )
    assert sorted(zip(feats[:, 0].tolist(), labels.tolist(), strict=True)) == [
        (2.0, 0),
        (10.0, 1),
        (18.0, 2),
    ]


BANDS = """
_base_ = r'{base}'
data_preprocessor = dict(
    _delete_=True, type='TwoViewDataPreprocessor', mean=[100.0], std=[50.0], token_scale=65535.0
)
val_dataloader = dict(
    dataset=dict(
        extensions=('.npy',),
        pipeline=[
            dict(type='LoadMultiBandImage', channels=5),
            dict(
                type='TwoViewResizedCrop',
                size=(8, 16),
                token_size=(8, 16),
                scale=(1.0, 1.0),
                ratio=(2.0, 2.0),
            ),
            dict(type='BlockwiseMask', grid=(1, 2), num_masked=1, min_block=1),
            dict(type='PackMIMInputs'),
        ],
    )
)
"""


@pytest.fixture
def bands(comparison, tmp_path):
    """A comparison on images of 5 bands and 16 bits, 8 x 16 pixels, nested in class folders."""
    comparison.args.pretrain = tmp_path / 'bands.py'
    base = ROOT / 'configs/pretrain/beit_beit-micro-p8_digit-scenes.py'
    comparison.args.pretrain.write_text(BANDS.format(base=base))
    values = np.random.RandomState(0).randint(0, 65536, (4, 8, 16, 5)).astype(np.uint16)
    for folder in ('train', 'val'):
        for name, image in zip(('b c/s\u00fcd/1', 'b c/2', 'a/3', 'a/n/4'), values, strict=True):
            path = comparison.args.data / folder / f'{name}.npy'
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, image)
        (comparison.args.data / folder / 'a/notes.txt').touch()
    return Comparison(comparison.args, seed=0), values


def test_batches__are_what_the_pre_training_shows_its_tokenizer(bands):
    comparison, values = bands
    expected = torch.from_numpy(values[[2, 3, 1, 0]] / 65535).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(torch.cat(comparison.images.batches()), expected)


def test_features__of_images_of_any_channels_in_nested_class_folders(bands):
    comparison, values = bands
    comparison.images.check_labels()
    feats, labels = comparison.figures.features(
        SumsOfPatches(), 'val', comparison.images.validation()
    )
    expected = ((values[[2, 3, 1, 0]].astype(float) - 100) / 50).sum((1, 2, 3)) / 32
    np.testing.assert_allclose(feats[:, 0], expected, rtol=1e-4)
    assert labels.tolist() == [0, 0, 1, 1]


def test_check_labels__before_anything_is_trained(bands, monkeypatch):
    comparison, _ = bands
    monkeypatch.setattr(Comparison, 'measure', lambda *_: pytest.fail('a training began'))
    (comparison.images.root / 'train/b c').rename(comparison.images.root / 'elsewhere')
    with pytest.raises(UserError, match=r"class folders \['b c'\], which are not in .*train"):
        tool.compare(comparison.args)
    (comparison.images.root / 'val/b c').rename(comparison.images.root / 'other')
    np.save(comparison.images.root / 'val/5.npy', np.zeros((8, 16, 5), np.uint16))
    with pytest.raises(UserError, match='no folder for each class: 5.npy.*--steps 0'):
        tool.compare(comparison.args)
    comparison.args.dense = 3
    with pytest.raises(UserError, match='there is no mask .*masks/train/a/3.png'):
        tool.compare(comparison.args)


def test_check_labels__a_class_that_only_training_has_moves_no_other(bands):
    comparison, values = bands
    (comparison.images.root / 'train/0').mkdir()
    np.save(comparison.images.root / 'train/0/0.npy', values[0])
    train, val = (
        {path.parent.name: label for path, label in rows}
        for rows in (comparison.images.labelled(), comparison.images.validation())
    )
    assert val['a'] == train['a'] == 1
    (comparison.images.root / 'meta').mkdir()
    (comparison.images.root / 'meta/list.txt').write_text('a/3.npy 0\n')  # numbers of its own
    with pytest.raises(UserError, match=r'the classes \[1\], which no labelled image has'):
        comparison.images.check_labels()


def test_pretrain__without_validation_is_refused(comparison):
    comparison.args.pretrain = ROOT / 'configs/pretrain/beit_beit-small-p16_folder.py'
    with pytest.raises(UserError, match=r'val_dataloader.dataset.data_root is missing'):
        Comparison(comparison.args, seed=0)


def test_entries__names_twice_and_missing_checkpoints(comparison):
    config = 'configs/tokenizer/fsq_8x6x5-v240_digit-scenes.py'
    with pytest.raises(UserError, match='no checkpoint nowhere.pth'):
        comparison.entry(f'{config}=nowhere.pth')
    with pytest.raises(UserError, match='more than once'):
        comparison.entries([config, config])


def test_labelled__lines_and_folders(comparison):
    (comparison.images.root / 'meta').mkdir(parents=True)
    (comparison.images.root / 'meta/list.txt').write_text('7/a b.png 7\n\n0/c.png 0\n')
    assert comparison.images.labelled() == [
        (comparison.images.root / 'train/7/a b.png', 7),
        (comparison.images.root / 'train/0/c.png', 0),
    ]
    for name in ('cat/2.png', 'cat/1.png', 'ant/3.png'):
        (comparison.images.root / 'val' / name).parent.mkdir(parents=True, exist_ok=True)
        (comparison.images.root / 'val' / name).touch()
    rows = [(path.name, label) for path, label in comparison.images.validation()]
    assert rows == [('3.png', 0), ('1.png', 1), ('2.png', 1)]
    (comparison.images.root / 'meta/list.txt').unlink()  # then all of DIR/train
    (comparison.images.root / 'val').rename(comparison.images.root / 'train')
    assert [(path.name, label) for path, label in comparison.images.labelled()] == rows
    comparison.args.dense = 2
    masks = [mask for _, mask in comparison.images.labelled()]
    assert masks[0] == comparison.images.root / 'masks/train/ant/3.png' and len(masks) == 3


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
    comparison = Comparison(comparison.args, seed=0)
    images = torch.rand(3, 3, 32, 32)
    monkeypatch.setattr(comparison.images, 'batches', lambda: [images[:2], images[2:]])
    tiny = dict(type='DVAETokenizer', vocab_size=8, width=8, num_blocks=1, code_dim=4)
    model = comparison.figures.build(tiny)
    monkeypatch.setattr(comparison.figures, 'build', lambda config: model)
    got = comparison.figures.quality(tiny)
    recon = model.decode(model.encode(images))
    assert got['feature_distance'] == pytest.approx(
        comparison.figures.perceptual.distance(recon, images).item(), rel=1e-4
    )
    assert got['tokens_per_image'] == 16 and got['validation_images'] == 3


def test_speed__images_of_the_best_of_five_passes(comparison, monkeypatch):
    class Encoder:
        def encode(self, images):
            return images.mean((1, 2, 3))

    batches = [torch.zeros(4, 3, 8, 8), torch.zeros(2, 3, 8, 8)]
    monkeypatch.setattr(comparison.figures, 'build', lambda tokenizer: Encoder())
    monkeypatch.setattr(comparison.images, 'batches', lambda: batches)
    clock = iter([0, 0.5, 1, 1.25, 2, 3, 4, 5, 6, 7])
    monkeypatch.setattr(figures.time, 'perf_counter', lambda: next(clock))
    assert comparison.figures.speed({}) == 6 / 0.25


def test_row__without_steps_there_is_no_pre_training(comparison, monkeypatch):
    trained = []

    def train(name, stage, config):
        trained.append(stage)
        return __file__  # any file

    monkeypatch.setattr(comparison, 'train', train)
    quality = dict(vocab_size=256, psnr=20.0)
    monkeypatch.setattr(comparison.figures, 'quality', lambda tokenizer: quality)
    monkeypatch.setattr(comparison.figures, 'speed', lambda tokenizer: 7.0)
    comparison.args.steps, comparison.args.speed = 0, True
    [(name, config, _), *_] = comparison.entries(tool.DEFAULT)
    row = comparison.row(name, config, None)
    assert trained == ['tokenizer']
    assert row == dict(name=name, seed=3, **quality, images_per_second=7.0)
    heading, _, values = make_table([row]).splitlines()
    assert heading.endswith('| perplexity | images/s |') and values.endswith('| 7 |')
