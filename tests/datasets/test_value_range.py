"""An image with values far outside of the model's range is named, in the worker that reads it."""

import numpy as np
import pytest
import torch

from beit_mm.datasets import UnlabelledImageFolder, value_range
from beit_mm.datasets.transforms import LoadMultiBandImage, PackMIMInputs, TwoViewResizedCrop
from beit_mm.datasets.value_range import WatchRange


def write(folder, values, dtype='float32'):
    for number, value in enumerate(values):
        image = np.zeros((8, 8, 1), dtype)
        image[1:, 1:] = value
        np.save(folder / f'{number}.npy', image)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A function that reads all images twice and returns what is warned of, in workers too."""

    def log(message, **_):
        with open(tmp_path / 'log', 'a') as file:
            file.write(message + '\n')

    def read_all(workers=0, **limits):
        crop = TwoViewResizedCrop(8, token_size=4, scale=None)
        steps = [LoadMultiBandImage(), crop, WatchRange(limits), PackMIMInputs()]
        data = UnlabelledImageFolder(str(tmp_path), steps, extensions='.npy')
        for _ in range(2):
            list(torch.utils.data.DataLoader(data, num_workers=workers))
        return (tmp_path / 'log').read_text().splitlines() if (tmp_path / 'log').exists() else []

    monkeypatch.setattr(value_range, 'print_log', log)
    return read_all


@pytest.mark.parametrize('value', [0, -9999, 65535])
def test_image_of_one_value__is_not_told_as_missing_data(tmp_path, read, value):
    np.save(tmp_path / '0.npy', np.full((8, 8, 1), value, np.float32))
    (told,) = read(img=(4000.0, 6000.0), token_img=(4000.0, 6000.0))
    assert f'the value {value} alone' in told and 'Remove' in told and 'nodata' not in told


@pytest.mark.parametrize('value', [-9999, 65535, -3.4e38])
@pytest.mark.parametrize('key', ['img', 'token_img'])
def test_values_far_outside__are_told_once_with_the_file(tmp_path, read, value, key):
    write(tmp_path, [0, 100, value, value])
    told = read(**{key: (-255.0, 510.0)})
    assert len(told) == 1 and '2.npy' in told[0] and 'nodata' in told[0] and f'({key})' in told[0]


def test_values_inside(tmp_path, read):
    write(tmp_path, [0, 300, -40])
    assert read(img=(-255.0, 510.0), token_img=(-255.0, 510.0)) == []


def test_uint8_is_not_looked_at(tmp_path, read):
    write(tmp_path, [0, 255], 'uint8')
    assert read(img=(0.0, 2.0)) == []


def test_workers__tell_it_once(tmp_path, read):
    write(tmp_path, [0, 9999, 0, 9999, 9999, 9999])
    assert len(read(workers=1, img=(0.0, 100.0))) == 1
