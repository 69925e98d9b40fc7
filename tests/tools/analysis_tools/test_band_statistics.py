import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments) -> subprocess.CompletedProcess:
    script = ROOT / 'tools/analysis_tools/band_statistics.py'
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)


def test_statistics__equal_numpy_over_all_pixels(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(60000, 60000 + 9 * i, (i, 5, 4)).astype('uint16') for i in (3, 8, 5)]
    for number, image in enumerate(images):
        (tmp_path / str(number)).mkdir()
        np.save(tmp_path / str(number) / 'a.npy', image)
    printed = run(tmp_path, '--channels', '4')
    assert printed.returncode == 0, printed.stderr
    found = {}
    exec(f'found.update(dict({"".join(printed.stdout.splitlines(keepends=True)[-6:])}))')
    pixels = np.concatenate([image.reshape(-1, 4) for image in images]).astype(float)
    np.testing.assert_allclose(found['mean'], pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found['std'], pixels.std(0), rtol=1e-5)
    assert found['min'] == pixels.min(0).tolist() and found['max'] == pixels.max(0).tolist()
    assert found['token_scale'] == 65535


def test_mistakes__say_which_file_without_a_traceback(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((2, 2, 3)))
    np.save(tmp_path / 'b.npy', np.zeros((2, 2, 4)))
    printed = run(tmp_path)
    assert printed.returncode == 1
    assert 'b.npy has 4 bands, but the images before it 3' in printed.stderr
    assert 'Traceback' not in printed.stderr
