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
    assert found['token_scale'] == pixels.max()


@pytest.mark.parametrize(
    'values, dtype, scale, message',
    [
        ([0, 4095], 'uint16', 4095, ''),
        ([7, 11517], 'uint16', 11517, ''),
        ([0, 200], 'uint8', 255, ''),
        ([0, 0.25], 'float32', 0.25, ''),
        ([-1024, 3071], 'int16', 4095, 'window=(-1024.0, 3071.0)'),
        ([-0.5, 0.5], 'float32', 1.0, 'window=(-0.5, 0.5)'),
    ],
)
def test_token_scale__is_the_observed_range(tmp_path, capsys, values, dtype, scale, message):
    np.save(tmp_path / 'a.npy', np.resize(np.array(values, dtype), (6, 6, 1)))
    band_statistics.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert eval(f'dict({printed[printed.index("mean=") :]})')['token_scale'] == scale
    assert message in printed and ('window' in printed) == bool(message)


def test_token_scale__beside_a_few_outliers(tmp_path, capsys):
    image = np.full((100, 100, 1), 1000, np.uint16)
    image[0, 0] = 60000
    np.save(tmp_path / 'a.npy', image)
    band_statistics.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert 'token_scale=60000.0' in printed
    assert '99.9 % of the values are at most 1000' in printed


def test_mistakes__say_which_file(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((2, 2, 3)))
    np.save(tmp_path / 'b.npy', np.zeros((2, 2, 4)))
    with pytest.raises(UserError, match='b.npy has 4 bands, but the images before it 3'):
        band_statistics.main([str(tmp_path)])
    np.save(tmp_path / 'b.npy', np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match='different types of values: float64, uint8'):
        band_statistics.main([str(tmp_path)])
