import copy
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import same_training

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BEFORE = dict(
    rows=[dict(loss='0x1p+0', chance='0x1p+1'), {'val/accuracy': '0.5'}],
    weights={'a.weight': '(1,) one', 'b.weight': '(1,) one', 'c': '(2,) two'},
)


def changed(**parts):
    return {**copy.deepcopy(BEFORE), **parts}


def test_differences__none_between_equal_records_with_other_names():
    rows = [dict(loss='0x1p+0', unigram_entropy='0x1p+1'), {'val/accuracy': '0.5'}]
    weights = {'c': '(1,) one', 'new': '(1,) one', 'b': '(2,) two'}
    after = changed(rows=rows, weights=weights)
    assert not list(same_training.differences(BEFORE, BEFORE, {}))
    assert not list(same_training.differences(BEFORE, after, dict(chance='unigram_entropy')))


@pytest.mark.parametrize(
    ('after', 'message'),
    [
        (dict(rows=BEFORE['rows'][:1]), '2 and 1 rows'),
        (
            dict(rows=[BEFORE['rows'][0], {'val/accuracy': '0.6'}]),
            'row 1: val/accuracy 0.5 and 0.6',
        ),
        (dict(rows=[dict(loss='0x1p+0'), BEFORE['rows'][1]]), 'row 0: chance 0x1p+1 and None'),
        (
            dict(weights={**BEFORE['weights'], 'b.weight': '(1,) three'}),
            'weights only before: b.weight (1 in all)',
        ),
        (
            dict(weights={**BEFORE['weights'], 'd': '(1,) one'}),
            'weights only after: d (1 in all)',
        ),
    ],
)
def test_differences__every_other_figure_or_weight_is_found(after, message):
    assert message in list(same_training.differences(BEFORE, changed(**after), {}))


def test_differences__an_optional_figure_may_be_missing_but_not_differ():
    missing = changed(rows=[dict(loss='0x1p+0'), BEFORE['rows'][1]])
    other = changed(rows=[dict(loss='0x1p+0', chance='0x0p+0'), BEFORE['rows'][1]])
    assert not list(same_training.differences(BEFORE, missing, {}, ['chance']))
    assert list(same_training.differences(BEFORE, other, {}, ['chance']))


def test_digest__every_bit_and_the_shape_count():
    value = torch.zeros(2, 3)
    assert same_training.digest(value) == same_training.digest(value.clone())
    others = [-value, value.t(), value.double(), value[:1]]
    assert len({same_training.digest(t) for t in [value, *others]}) == 5


def test_compare__needs_something_in_common(tmp_path):
    with pytest.raises(SystemExit, match='no record of the same config'):
        same_training.compare(tmp_path, tmp_path, {})


def test_record_and_compare__twice_the_same_and_another_loss_is_seen(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder in ('unlabelled', 'val'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        for name in 'abc':
            path = tmp_path / 'data' / folder / f'{name}.png'
            cv2.imwrite(str(path), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    command = [sys.executable, str(ROOT / 'benchmarks/same_training.py'), 'record']
    options = ['--data', str(tmp_path / 'data'), '--steps', '2', '--only', 'random-projection']
    for name in ('a', 'b'):
        done = subprocess.run([*command, str(tmp_path / name), *options], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert same_training.compare(tmp_path / 'a', tmp_path / 'b', {})
    assert 'random-projection_digit-scenes: same' in capsys.readouterr().out
    (path,) = (tmp_path / 'b').glob('*/record.json')
    record = json.loads(path.read_text())
    assert len(record['rows']) == 3 and len(record['weights']) > 40
    record['rows'][1]['loss'] = '0x1p+0'
    path.write_text(json.dumps(record))
    assert not same_training.compare(tmp_path / 'a', tmp_path / 'b', {})
