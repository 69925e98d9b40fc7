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
    assert '99.8 % of the values are in [1000, 1000]' in printed and '--nodata' not in printed


@pytest.mark.parametrize(
    'dtype, value', [('int16', -9999), ('uint16', 65535), ('float32', -3.4e38), ('float32', np.nan)]
)
def test_nodata__is_left_out(tmp_path, capsys, dtype, value):
    """Statistics are those of the pixels with data, by the tag or --nodata; else it is told."""
    rng = np.random.default_rng(0)
    images = rng.integers(100, 200, (3, 20, 20, 2)).astype(dtype)
    whole, missing = images.astype(float), np.zeros(images.shape, bool)
    missing[0, :5, :, 0] = missing[1] = True
    images[missing] = value
    for number, image in enumerate(images):
        np.save(tmp_path / f'{number}.npy', image)
    band_statistics.main([str(tmp_path), f'--nodata={value}'])
    printed = capsys.readouterr().out
    found = eval(f'dict({printed[printed.index("mean=") :]})')
    data = np.ma.array(whole, mask=missing)
    for name in ('mean', 'std', 'min', 'max'):
        np.testing.assert_allclose(found[name], getattr(data, name)((0, 1, 2)), rtol=1e-5)
    assert found['token_scale'] == data.max()
    if np.isfinite(value):
        band_statistics.main([str(tmp_path)])
        assert '--nodata' in capsys.readouterr().out


def test_nodata__everywhere(tmp_path):
    np.save(tmp_path / 'a.npy', np.dstack([np.ones((4, 4)), np.zeros((4, 4))]))
    with pytest.raises(UserError, match=r'Bands \[1\] have no data'):
        band_statistics.main([str(tmp_path), '--nodata', '0'])


def test_mistakes__say_which_file(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((2, 2, 3)))
    np.save(tmp_path / 'b.npy', np.zeros((2, 2, 4)))
    with pytest.raises(UserError, match='b.npy has 4 bands, but the images before it 3'):
        band_statistics.main([str(tmp_path)])
    np.save(tmp_path / 'b.npy', np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match='different types of values: float64, uint8'):
        band_statistics.main([str(tmp_path)])
