import json

import numpy as np
import pytest
import torch

from beit_mm.cli import report
from beit_mm.contracts import MissingFileError
from beit_mm.registry import MODELS


@pytest.fixture
def runs(tmp_path):
    """Two runs whose figures are 0, 1, 2, ... and 10 more."""
    for run in range(2):
        metrics = {}
        for number, (stage, key, _) in enumerate(report.ROWS):
            metrics.setdefault(stage, {})[key] = number + 10 * run
        for stage, figures in metrics.items():
            folder = tmp_path / f'run{run}' / stage
            folder.mkdir(parents=True)
            (folder / 'metrics.json').write_text(json.dumps(figures))
    return [tmp_path / 'run0', tmp_path / 'run1']


def test_table__mean_and_range(runs):
    assert report.make_table(runs[:1])[3] == ['pre-training: masked-token accuracy (%)', '3.00']
    table = report.make_table(runs)
    assert [row[1:] for row in table[:2]] == [
        ['5.00', '0.00 to 10.00 over 2 runs'],
        ['6.00', '1.00 to 11.00 over 2 runs'],
    ]
    lines = report.as_text(table).splitlines()
    assert len(lines) == len(report.ROWS) == 11
    assert lines[0].split('   ')[-1] == '0.00 to 10.00 over 2 runs'
    assert len({line.index('.00') for line in report.as_text(table[:5]).splitlines()}) == 1


def test_table__an_unfinished_run_is_named(runs):
    path = runs[1] / 'cls_probe/metrics.json'
    path.unlink()
    with pytest.raises(MissingFileError, match=f'{path} is missing; run tools/quickstart.sh'):
        report.make_table(runs)


def test_report__page_pictures_and_figure(runs, monkeypatch):
    picture = np.full((4, 4, 3), 9, np.uint8)
    monkeypatch.setattr(report, 'draw_reconstructions', lambda run, data: picture)
    for name in ('predict_tokens', 'predict_classes'):
        monkeypatch.setattr(report, name, lambda run, data: [[picture] * 4] * 10)
    figure = runs[0] / 'figure.svg'
    page = report.write_report(runs[0], runs[0], report.make_table(runs[:1]), figure)
    text = page.read_text()
    assert text.count('<img') == 4 and text.count('<tr>') == len(report.ROWS)
    names = {path.stem for path in runs[0].glob('*.png')}
    assert names == {'reconstructions', 'predictions', 'segmentations', 'curves'}
    assert figure.read_text().count('<image') == 6 * 8


def test_predictions__only_masked_patches_differ_from_the_image(tmp_path, monkeypatch):
    images = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8)
    model = report.config_of('pretrain').model
    model.tokenizer.init_cfg = None
    preprocessor = report.config_of('pretrain').data_preprocessor
    built = MODELS.build(dict(model, data_preprocessor=preprocessor)).eval()
    monkeypatch.setattr(report, 'build', lambda run, stage: built)
    monkeypatch.setattr(report, 'read_val', lambda data, count: (images, []))
    rows = report.predict_tokens(tmp_path, tmp_path)
    assert len(rows) == 10
    for image, (original, masked, predicted, _) in zip(images, rows, strict=True):
        assert np.array_equal(original, image.permute(1, 2, 0).numpy())
        gray = (masked == 128).all(-1)
        assert gray.sum() >= 4 * 64  # a block of patches at least
        assert np.array_equal(masked[~gray], original[~gray])
        assert np.array_equal(predicted[~gray], original[~gray])
        assert not np.array_equal(predicted, original)
