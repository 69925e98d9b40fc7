"""The data sets of configs, whole: what is broken in folders, lists, labels and splits is named."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from beit_mm.cli import check_dataset
from beit_mm.contracts import UserError


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.arange(28, dtype=np.uint8)[None].repeat(20, 0) % 3
    Image.fromarray(ids).save(path)


@pytest.fixture
def root(tmp_path):
    """Two splits of two classes and three images each, and their masks."""
    for start, split in enumerate(('train', 'val')):
        for number in range(6):
            name = f'{split}/{"ab"[number % 2]}/{number}.png'
            picture(tmp_path / 'images' / name, 10 * start + number)
            mask(tmp_path / 'masks' / name)
    return tmp_path


def config(root, scope, **changes):
    """changes: of the training set."""

    def loader(split):
        return dict(data_set(split), serialize_data=False)  # it collects garbage

    def data_set(split):
        images, masks = str(root / 'images' / split), str(root / 'masks' / split)
        if scope == 'beit_mm':
            return dict(type='UnlabelledImageFolder', data_root=images)
        if scope == 'mmpretrain':
            return dict(type='CustomDataset', data_root=images, data_prefix='')
        return dict(
            type='BaseSegDataset',
            data_prefix=dict(img_path=images, seg_map_path=masks),
            img_suffix='.png',
            metainfo=dict(classes=('x', 'y', 'z')),
        )

    head = dict(mmpretrain=dict(head=dict(num_classes=2)), beit_mm={}, mmseg={})[scope]
    train = dict(
        loader('train'), pipeline=[dict(type='LoadImageFromFile'), dict(type='NotBuiltHere')]
    )
    return Config(
        dict(
            default_scope=scope,
            model=dict(backbone=dict(patch_size=4), **head),
            train_dataloader=dict(dataset={**train, **changes}),
            val_dataloader=dict(dataset=loader('val')),
            test_dataloader=dict(dataset=loader('val')),
        )
    )


def found(given, names=('train', 'val', 'test'), **kwargs):
    findings, _ = check_dataset.check_config_data(given, names, **kwargs)
    return findings


def kinds(given, **kwargs):
    return [f'{f.level}:{f.kind}' for f in found(given, **kwargs)]


scopes = pytest.mark.parametrize('scope', ['beit_mm', 'mmpretrain', 'mmseg'])


@scopes
def test_good_data__nothing_found(root, scope):
    findings, sizes = check_dataset.check_config_data(config(root, scope), ('train', 'val', 'test'))
    assert findings == []
    assert [size for size in sizes.values()] == [dict(samples=6, checked=6)] * 3


@scopes
def test_broken_image__in_each_split(root, scope):
    path = root / 'images/train/a/2.png'
    path.write_bytes(path.read_bytes()[:300])
    (root / 'images/val/b/3.png').write_bytes(b'')
    findings = found(config(root, scope))
    assert [(f.kind, f.place.replace('//', '/')) for f in findings] == [
        ('empty-file', str(root / 'images/val/b/3.png')),
        ('truncated', str(path)),
    ]
    assert found(config(root, scope), ('val',)) == findings[:1]


def test_files_in_other_processes__the_same_findings(root):
    (root / 'images/train/a/2.png').write_bytes(b'no image')
    (root / 'masks/val/a/2.png').unlink()
    given = config(root, 'mmseg')
    assert found(given, workers=2) == found(given) != []


def test_max_images__are_spread_over_the_data(root, capsys):
    (root / 'images/train/b/3.png').write_bytes(b'no image')
    given = config(root, 'beit_mm')
    findings, sizes = check_dataset.check_config_data(given, ('train',), max_images=2)
    assert sizes == {'train_dataloader.dataset': dict(samples=6, checked=2)}
    assert 'train_dataloader.dataset: 2 of 2' in capsys.readouterr().err


def test_labels__out_of_range(root):
    lines = [f'a/{n}.png {label}\n' for n, label in ((0, 0), (2, 2), (4, -1))]
    (root / 'list.txt').write_text(''.join(lines))
    given = config(
        root, 'mmpretrain', ann_file=str(root / 'list.txt'), metainfo=dict(classes=('p', 'q'))
    )
    findings = found(given)
    assert [f'{f.level}:{f.kind}' for f in findings] == [
        *('error:label-out-of-range', 'error:label-out-of-range', 'warning:class-without-samples')
    ]
    assert findings[0].place.endswith('a/2.png') and 'has label 2; with 2 classes' in str(
        findings[0]
    )
    assert findings[1].place.endswith('a/4.png') and 'class 1 (q)' in str(findings[2])


def test_class_folder__empty(root):
    shutil.rmtree(root / 'images/train/b')
    (root / 'images/train/b').mkdir()
    findings = found(config(root, 'mmpretrain'))
    assert [(f.kind, f.place) for f in findings] == [('empty-class', str(root / 'images/train/b'))]


@pytest.mark.parametrize('scope, place', [('beit_mm', 'images'), ('mmseg', 'masks')])
def test_other_folder__empty(root, scope, place):
    (root / place / 'train/c/d').mkdir(parents=True)
    (finding,) = found(config(root, scope))
    assert (finding.kind, finding.place) == ('empty-folder', str(root / place / 'train/c/d'))


def test_images_that_are_passed_over(root):
    for number in (7, 8):
        picture(root / f'images/train/a/{number}.webp', number)
    (root / 'images/train/a/notes.txt').touch()
    (finding,) = found(config(root, 'mmpretrain'))
    assert finding.kind == 'passed-over' and 'and 1 more files ending with .webp' in str(finding)
    assert found(config(root, 'beit_mm')) == []  # it reads them


def test_images_of_another_part__are_not_passed_over(root):
    cfg = config(root, 'beit_mm')
    cfg.train_dataloader.dataset.update(part='train', val_share=0.5)
    assert not [finding for finding in found(cfg) if finding.kind == 'passed-over']


@pytest.mark.parametrize(
    'text, message',
    [
        ('a/0.png 0\n\na/2.png 1\n', "line 2 is ''"),
        ('a/0.png 0\na/2.png\n', "line 2 is 'a/2.png'"),
        ('a/0.png zero\n', "line 1 is 'a/0.png zero'"),
        ('', 'ann_file is empty'),
        (None, 'there is no such file'),
    ],
)
def test_annotations__of_classification(root, text, message):
    path = root / 'list.txt'
    if text is not None:
        path.write_text(text)
    (finding,) = found(config(root, 'mmpretrain', ann_file=str(path)))
    assert finding.kind == 'annotations' and message in str(finding)


def test_no_data(root):
    (finding,) = found(config(root, 'mmseg', img_suffix='.jpeg'))
    assert finding.kind == 'no-data' and 'finds no image in it (.jpeg)' in str(finding)
    given = config(root, 'mmpretrain', data_root=str(root / 'nowhere'))
    (finding,) = found(given)
    assert finding.kind == 'no-data' and 'there is no such folder' in str(finding)
    (finding,) = found(config(root, 'beit_mm', extensions=['.gif']))
    assert finding.kind == 'no-data' and 'has no images' in str(finding)


def test_masks__missing_and_out_of_range(root):
    (root / 'masks/train/a/0.png').unlink()
    Image.fromarray(np.full((20, 28), 9, np.uint8)).save(root / 'masks/val/a/2.png')
    assert kinds(config(root, 'mmseg')) == ['error:mask-id-out-of-range', 'error:mask-missing']


def test_masks__as_the_pipeline_reads_them(root):
    ids = np.arange(28, dtype=np.uint16)[None].repeat(20, 0) % 3
    ids[0, 0] = 300
    Image.fromarray(ids).save(root / 'masks/train/a/0.png')
    assert kinds(config(root, 'mmseg')) == ['error:mask-sixteen-bit']
    pipeline = [dict(type='beit_mm.LoadSegmentationMask', ignore_index=300)]
    assert kinds(config(root, 'mmseg', pipeline=pipeline)) == []
    # 1 and 2 are 0 and 1 then, 0 is ignored, and none is 2
    assert kinds(config(root, 'mmseg', pipeline=pipeline, reduce_zero_label=True)) == [
        'warning:class-without-samples'
    ]


def test_bit_depth_and_turns__as_the_pipeline_reads_them(root):
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 28), dtype=np.uint16)
    Image.fromarray(pixels).save(root / 'images/train/a/0.png')
    assert kinds(config(root, 'beit_mm')) == ['error:sixteen-bit']
    pipeline = [dict(type='LoadMultiBandImage')]
    assert kinds(config(root, 'beit_mm', pipeline=pipeline)) == ['warning:mixed-bands']


def test_crop__unless_the_image_is_resized_before(root):
    crop = dict(type='RandomCrop', crop_size=(24, 24))
    load = dict(type='LoadImageFromFile')
    given = config(root, 'mmseg', pipeline=[load, crop])
    assert kinds(given) == ['note:smaller-than-crop'] * 6
    resize = dict(type='RandomResize', scale=(64, 64))
    assert kinds(config(root, 'mmseg', pipeline=[load, resize, crop])) == []


def test_duplicates(root):
    train, val = root / 'images/train', root / 'images/val'
    shutil.copy(train / 'a/0.png', train / 'b/9.png')
    shutil.copy(train / 'a/2.png', val / 'b/8.png')
    findings = found(config(root, 'beit_mm'))
    assert [f'{f.level}:{f.kind}' for f in findings] == [
        *('warning:duplicate-across-splits', 'note:duplicate')
    ]
    assert findings[0].place.endswith('val/b/8.png') and 'train/a/2.png' in findings[0].message
    assert findings[1].place.endswith('train/b/9.png') and 'train/a/0.png' in findings[1].message


def test_same_files_in_training_and_validation(root):
    given = config(root, 'beit_mm')
    given.val_dataloader.dataset.data_root = given.train_dataloader.dataset.data_root
    findings = found(given, ('train', 'val'))
    assert {f.kind for f in findings} == {'duplicate-across-splits'} and len(findings) == 6
    assert all('is the same file as' in f.message for f in findings)


def test_wrappers__each_data_set_in_them(root):
    given = config(root, 'mmpretrain')
    inner = given.train_dataloader.dataset
    skipping = dict(type='beit_mm.SkipBadSamples', dataset=inner)
    given.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[skipping, inner])
    (root / 'images/train/a/2.png').write_bytes(b'no image')
    findings, sizes = check_dataset.check_config_data(given, ('train',))
    assert [f.kind for f in findings] == ['undecodable']  # one file, one finding
    assert list(sizes) == [
        *('train_dataloader.dataset.datasets.0.dataset', 'train_dataloader.dataset.datasets.1')
    ]


def test_same_files_under_other_rules__are_read_again(root):
    """The validation and the test set, which crops."""
    given = config(root, 'mmseg')
    crop = dict(type='RandomCrop', crop_size=(24, 24))
    given.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), crop]
    findings, sizes = check_dataset.check_config_data(given, ('val', 'test'))
    assert [f.kind for f in findings] == ['smaller-than-crop'] * 6
    assert [size['checked'] for size in sizes.values()] == [6, 6]


def test_same_data_twice__is_read_and_named_once(root, monkeypatch):
    """The test set of most configs is the validation set."""
    (root / 'list.txt').write_text('a/0.png 0\na/2.png 5\n')
    given = config(root, 'mmpretrain')
    for loader in (given.val_dataloader, given.test_dataloader):
        loader.dataset.update(ann_file=str(root / 'list.txt'), metainfo=dict(classes=('p', 'q')))
        loader.dataset.data_root = str(root / 'images/train')
    read, check = [], check_dataset.check_sample
    monkeypatch.setattr(
        check_dataset, 'check_sample', lambda *a, **k: read.append(a[0]) or check(*a, **k)
    )
    findings = found(given, ('val', 'test'))
    assert len(read) == 2
    assert [f.kind for f in findings if f.level == 'error'] == ['label-out-of-range']


def test_process_that_dies__is_an_error_in_words(root, monkeypatch):
    monkeypatch.setattr(check_dataset, 'cv2', SimpleNamespace(setNumThreads=os._exit))
    with pytest.raises(UserError, match='train_dataloader.dataset: a process died .*--workers 0'):
        check_dataset.check_config_data(config(root, 'beit_mm'), ('train',), workers=1)


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        check_dataset.main([*map(str, arguments), '--workers', '0'])
    return end.value.code


def test_command__status_report_and_limit_of_lines(root, capsys):
    path = root / 'config.py'
    config(root, 'beit_mm').dump(path)
    assert run(path) == 0
    assert '0 errors, 0 warnings, 0 notes' in capsys.readouterr().out
    shutil.copy(root / 'images/train/a/2.png', root / 'images/val/b/8.png')
    assert run(path) == 0  # warnings alone
    for number in (0, 2, 4):
        (root / f'images/train/a/{number}.png').write_bytes(b'no image')
    assert run(path, '--show', 1, '--out', root / 'report.json') == 1
    out = capsys.readouterr().out
    assert out.count('error: undecodable: /') == 1 and 'error: undecodable: 2 more' in out
    report = json.loads((root / 'report.json').read_text())
    assert report['counts']['undecodable'] == 3 and len(report['findings']) >= 3
    assert report['findings'][0]['path'].endswith('images/train/a/0.png')
    assert run(path, '--split', 'val') == 0


def test_command__refuses_to_check_nothing(root, capsys):
    path = root / 'config.py'
    config(root, 'beit_mm').dump(path)
    assert run(path, '--max-images', 0) == 2
    assert '--max-images: 0: expected at least 1' in capsys.readouterr().err


def test_command__without_such_data(root):
    Config(dict(default_scope='beit_mm')).dump(root / 'config.py')
    with pytest.raises(UserError, match='has no dataloader of train, val, test'):
        check_dataset.main([str(root / 'config.py')])


@pytest.mark.parametrize('most', [None, 3])
@pytest.mark.parametrize('sets', [('train',), ('train', 'val')])
def test_class_that_no_mask_has__is_told_where_all_were_read(root, sets, most):
    for split in sets:
        for path in (root / 'masks' / split).rglob('*.png'):
            ids = np.asarray(Image.open(path)).copy()
            ids[ids == 1] = 255
            Image.fromarray(ids).save(path)
    findings = found(config(root, 'mmseg'), max_images=most)
    told = [f for f in findings if f.kind == 'class-without-samples']
    assert findings == told and len(told) == (0 if most else len(sets))
    for finding in told:
        assert finding.level == 'warning' and 'none of 6 masks (of 6) has class 1 (y)' in str(
            finding
        )
