import numpy as np
import pytest

from beit_mm.cli import band_statistics
from beit_mm.contracts import UserError


def test_statistics__equal_numpy_over_all_pixels(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = [rng.integers(60000, 60000 + 9 * i, (i, 5, 4)).astype('uint16') for i in (3, 8, 5)]
    for number, image in enumerate(images):
        (tmp_path / str(number)).mkdir()
        np.save(tmp_path / str(number) / 'a.npy', image)
    band_statistics.main([str(tmp_path), '--channels', '4'])
    printed = capsys.readouterr().out
    found = eval(f'dict({printed[printed.index("mean=") :]})')
    pixels = np.concatenate([image.reshape(-1, 4) for image in images]).astype(float)
    np.testing.assert_allclose(found['mean'], pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found['std'], pixels.std(0), rtol=1e-5)
    assert found['min'] == pixels.min(0).tolist() and found['max'] == pixels.max(0).tolist()
    assert found['token_scale'] == 65535


def test_mistakes__say_which_file(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((2, 2, 3)))
    np.save(tmp_path / 'b.npy', np.zeros((2, 2, 4)))
    with pytest.raises(UserError, match='b.npy has 4 bands, but the images before it 3'):
        band_statistics.main([str(tmp_path)])
    np.save(tmp_path / 'b.npy', np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match='different types of values: float64, uint8'):
        band_statistics.main([str(tmp_path)])
