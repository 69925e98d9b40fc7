import json

import numpy as np
import pytest

from beit_mm.visualization import read_scalars


def test_scalars_of_several_runs__later_ones_win_and_a_cut_line_is_left_out(tmp_path):
    runs = {
        '20260101_000000': [dict(loss=5.0, step=1), dict(loss=4.0, step=2), dict(acc=9.0, step=2)],
        '20260102_000000': [dict(loss=3.5, step=2), dict(loss=float('nan'), step=3)],
    }
    for name, entries in runs.items():
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [json.dumps(entry) for entry in entries]
        (folder / 'scalars.json').write_text('\n'.join(lines) + '\n{"loss": 2.0, "st')
    steps, values = read_scalars(tmp_path)
    assert steps == [1, 2, 3]
    assert values[:2] == [5.0, 3.5] and np.isnan(values[2])
    assert read_scalars(tmp_path, 'acc') == ([2], [9.0])
    assert read_scalars(tmp_path / 'nothing') == ([], [])


DAMAGED = [
    b'\xff\xfe{',
    b'5',
    b'null',
    b'[1]',
    b'{"loss": null, "step": 4}',
    b'{"loss": "x", "step": 4}',
]
DAMAGED += [b'[' * 100_000, b'{"loss": 1, "step": Infinity}', b'', b'{"loss": 1, "step": [4]}']


@pytest.mark.parametrize('line', DAMAGED, ids=lambda line: str(line[:12]))
def test_read__passes_over_a_damaged_line(line, tmp_path):
    folder = tmp_path / 'run' / 'vis_data'
    folder.mkdir(parents=True)
    lines = [b'{"loss": 3.0, "step": 1}', line, b'{"loss": 2.0, "step": 2}']
    (folder / 'scalars.json').write_bytes(b'\n'.join(lines))
    assert read_scalars(tmp_path) == ([1, 2], [3.0, 2.0])


def test_scalars_of_a_run_that_began_anew__have_nothing_of_the_one_before(tmp_path):
    runs = {
        'a': [dict(loss=5.0, step=10), dict(acc=9.0, step=10), dict(loss=4.0, step=20)],
        'b': [dict(loss=3.0, step=5), dict(loss=2.0, step=12)],
    }
    for name, entries in runs.items():
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [json.dumps(entry) for entry in entries]
        (folder / 'scalars.json').write_text('\n'.join(lines))
    assert read_scalars(tmp_path) == ([5, 12], [3.0, 2.0])
    assert read_scalars(tmp_path, 'acc') == ([], [])
