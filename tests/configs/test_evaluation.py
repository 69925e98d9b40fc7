"""What tools/test.py makes of a classifier and a segmentor: files, pictures, means of views."""

import copy
import csv
import json
import pickle
import runpy
import sys
from pathlib import Path

import cv2
import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from shipped_configs import CONFIGS, loaded, options_of

from beit_mm.cli.test import augment_test, main
from beit_mm.contracts import UserError
from beit_mm.registry import MODELS

pytestmark = pytest.mark.slow

CLASSIFY = 'classification/beit-micro-p8_scratch_ft_digit-scenes-500.py'
SEGMENT = 'segmentation/beit-micro-p8_scratch_setr-naive_digit-scenes-500.py'
PRETRAIN = 'pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py'
TOOLS = Path(mmpretrain.__file__).parent / '.mim/tools/analysis_tools'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Checkpoints of random weights whose predictions differ from image to image."""
    folder = tmp_path_factory.mktemp('weights')
    for name in (CLASSIFY, SEGMENT):
        config = copy.deepcopy(loaded(Path(name)))
        torch.manual_seed(1)
        outside = dict(data_preprocessor=config.get('data_preprocessor'))
        model = MODELS.build({**outside, **config.model})
        torch.nn.init.normal_(list(model.parameters())[-2])
        torch.save(model.state_dict(), folder / f'{Path(name).parts[0]}.pth')
    return folder


@pytest.fixture
def run(tree, tmp_path, monkeypatch, weights):
    """Evaluate a shipped config and return what its files hold, by suffix."""
    monkeypatch.chdir(tree)

    def evaluate(name, *arguments, outs=('a.json', 'a.csv', 'a.pkl')):
        outs = [tmp_path / 'out' / out for out in outs]
        checkpoint = weights / f'{Path(name).parts[0]}.pth'
        command = [CONFIGS / name, checkpoint, '--work-dir', tmp_path, '--overwrite', *arguments]
        for out in outs:
            command += ['--out', out]
        main([str(part) for part in command])
        readers = {
            '.json': lambda path: json.loads(path.read_text(), parse_constant=pytest.fail),
            '.csv': lambda path: list(csv.DictReader(path.open())),
            '.pkl': lambda path: pickle.loads(path.read_bytes()),
        }
        return [readers[out.suffix](out) for out in outs]

    return evaluate


def log_of(folder):
    return '\n'.join(path.read_text() for path in folder.glob('*/*.log'))


def test_classification__metrics_classes_and_predictions(run, tree, tmp_path):
    metrics, table, predictions = run(CLASSIFY)
    assert len(predictions) == 10
    truth, found = (np.array([int(s[k]) for s in predictions]) for k in ('gt_label', 'pred_label'))
    assert metrics['accuracy/top1'] == pytest.approx(100 * np.mean(truth == found))
    assert len(set(found)) > 1
    for number, row in enumerate(metrics['per_class']):
        hits = int(((truth == number) & (found == number)).sum())
        times = int((found == number).sum())
        expected = dict(precision=100 * hits / times if times else None, recall=100 * hits)
        expected.update({'class': str(number), 'F1': 200 * hits / (times + 1), 'images': 1})
        assert row == pytest.approx(expected)
    values = {(line['metric'], line['class']): line['value'] for line in table}
    assert float(values['accuracy/top1', '']) == metrics['accuracy/top1']
    precisions = [row['precision'] for row in metrics['per_class']]
    assert None in precisions  # not NaN, which is no JSON
    assert [values['precision', str(n)] for n in range(10)] == [
        '' if value is None else str(value) for value in precisions
    ]
    assert 'class  precision  recall' in log_of(tmp_path)


def test_classification__pickles_are_read_by_the_tools_of_mmpretrain(
    run, tmp_path, monkeypatch, capsys
):
    metrics, predictions = run(CLASSIFY, '--tta', outs=('a.json', 'a.pkl'))
    pkl = str(tmp_path / 'out/a.pkl')
    cm = tmp_path / 'cm.pkl'
    for tool, *arguments in (
        ('eval_metric.py', pkl, '--metric', 'type=Accuracy', 'topk=1'),
        ('confusion_matrix.py', str(CONFIGS / CLASSIFY), pkl, '--out', str(cm)),
    ):
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        runpy.run_path(str(TOOLS / tool), run_name='__main__')
    assert f"'accuracy/top1': {metrics['accuracy/top1']}" in capsys.readouterr().out
    matrix = np.asarray(pickle.loads(cm.read_bytes()))
    assert np.trace(matrix) * 10 == metrics['accuracy/top1']
    assert {'sample_idx', 'img_path', 'gt_label', 'pred_label', 'pred_score'} <= set(predictions[0])


def test_classification__predictions_as_lines(run):
    lines, as_json = run(CLASSIFY, '--out-item', 'pred', outs=('a.csv', 'a.json'))
    assert [line['gt_class'] for line in lines] == list('0123456789')
    assert [Path(line['img_path']).parent.name for line in lines] == list('0123456789')
    assert [float(line['pred_score']) for line in lines] == [row['pred_score'] for row in as_json]
    assert all(row['pred_label'] == int(row['pred_class']) for row in as_json)


def test_segmentation__metrics_classes_predictions_and_pictures(run, tree, tmp_path):
    metrics, predictions = run(
        SEGMENT, '--show-dir', tmp_path / 'pictures', outs=('a.json', 'a.pkl')
    )
    rows = metrics['per_class']
    defined = [row['IoU'] for row in rows if row['IoU'] is not None]
    assert metrics['mIoU'] == pytest.approx(np.mean(defined), abs=0.01)
    accuracies = [row['Acc'] for row in rows if row['Acc'] is not None]
    assert metrics['mAcc'] == pytest.approx(np.mean(accuracies), abs=0.01)
    assert sum(row['pixels'] for row in rows) == 10 * 32 * 32
    assert rows[0]['class'] == 'background' and 'seg_logits' not in predictions[0]
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert [path.name for path in pictures][:2] == ['000000_00000.png', '000001_00001.png']
    picture = cv2.imread(str(pictures[3]))[..., ::-1]
    original = cv2.imread(str(tree / 'data/digit_scenes/val/3/00003.png'))[..., ::-1]
    zoom = 6  # to 192 pixels
    top = np.repeat(np.repeat(original, zoom, 0), zoom, 1)
    places = [y for y in range(40) if np.array_equal(picture[y : y + 192, :192], top)]
    assert len(places) == 1  # the image itself, in its colors; beside it are both masks
    overlays = [picture[places[0] :][:192, left : left + 192] for left in (196, 392)]
    assert not np.array_equal(*overlays)
    with pytest.raises(UserError, match='go to a .pkl file'):
        run(SEGMENT, '--out-item', 'pred', outs=('b.csv',))


@pytest.mark.parametrize('tta', [[], ['--tta']])
def test_classification__pictures_of_the_right_colors_and_of_equal_names(run, tree, tmp_path, tta):
    for digit in range(10):
        folder = tree / 'data/same_names' / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        shade = np.zeros((32, 32, 3), np.uint8)
        shade[..., 0] = 20 * digit + 20  # blue
        cv2.imwrite(str(folder / 'a.png'), shade)
    root = 'test_dataloader.dataset.data_root=data/same_names'
    options = ['--cfg-options', root, 'test_dataloader.dataset.data_prefix=']
    run(CLASSIFY, '--show-dir', tmp_path / 'p', *tta, *options, outs=())
    pictures = sorted((tmp_path / 'p').iterdir())
    assert [path.name for path in pictures] == [f'{n:06d}_a.png' for n in range(10)]
    for digit, path in enumerate(pictures):
        assert (cv2.imread(str(path)) == (20 * digit + 20, 0, 0)).all(-1).sum() >= 192 * 192


@pytest.mark.parametrize(
    'leaf',
    [
        *(CLASSIFY, SEGMENT, 'classification/beit-tiny-p4_beit_1xb128-coslr-100e_cifar10.py'),
        'classification/beit-base-p16_beit-300e_8xb128-amp-coslr-100e_in1k.py',
        pytest.param(
            'segmentation/beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-640x640.py',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_tta__of_shipped_configs_is_the_mean_of_their_views(leaf, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tree)
    config = copy.deepcopy(loaded(Path(leaf)))
    config.merge_from_dict(options_of(config, tmp_path))
    augment_test(config)
    runner = Runner.from_cfg(config)
    model, (batch,) = runner.model.eval(), runner.test_loop.dataloader
    views = [dict(inputs=i, data_samples=s) for i, s in zip(*map(batch.get, batch), strict=True)]
    assert len(views) == dict(m=3, t=2, b=2)[Path(leaf).name[5]] if 'ade' not in leaf else 12
    with torch.no_grad():
        (merged,) = model.test_step(copy.deepcopy(batch))
        apart = [model.module.test_step(view)[0] for view in copy.deepcopy(views)]
    if config.default_scope == 'mmseg':
        scores = torch.stack([one.seg_logits.data.softmax(0) for one in apart])
        assert torch.equal(merged.pred_sem_seg.data[0], scores.mean(0).argmax(0))
        assert torch.equal(merged.gt_sem_seg.data, apart[-1].gt_sem_seg.data)
    else:
        scores = torch.stack([one.pred_score for one in apart])
        torch.testing.assert_close(merged.pred_score, scores.mean(0))
    assert len({score.sum().item() for score in scores * torch.rand(scores[0].shape)}) == len(views)
    assert runner.test() and scores.isfinite().all()


def test_tta__mirrors_where_the_config_says_nothing(tree):
    config = copy.deepcopy(loaded(Path(CLASSIFY)))
    config.pop('tta_model'), config.pop('tta_pipeline')
    inner = config.test_dataloader.dataset
    config.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, inner])
    module = config.model
    augment_test(config)
    assert config.model == dict(type='mmpretrain.AverageClsScoreTTA', module=module)
    for part in config.test_dataloader.dataset.datasets:
        assert [step['type'] for step in part.pipeline][-1] == 'TestTimeAug'
    with pytest.raises(UserError, match='--tta: .* MaskedImageModel'):
        augment_test(copy.deepcopy(loaded(Path(PRETRAIN))))


def test_out__of_no_known_format_is_refused_before_the_run():
    with pytest.raises(UserError, match=r'--out a.txt: .*\.json, \.csv, \.pkl'):
        main([str(CONFIGS / CLASSIFY), 'gone.pth', '--out', 'a.txt'])
    with pytest.raises(UserError, match='give a file with --out'):
        main([str(CONFIGS / CLASSIFY), 'gone.pth', '--out-item', 'pred'])
