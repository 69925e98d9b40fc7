"""Pixels without data: those that a file or the config names never reach a training."""

import struct

import numpy as np
import pytest
import tifffile

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import LoadMultiBandImage

LOWEST = float(np.finfo(np.float32).min)


def load(path, **options):
    return LoadMultiBandImage(**options).transform(dict(img_path=str(path)))


def write(path, img, tag=None, **options):
    extra = [] if tag is None else [(42113, 2, 0, tag, True)]
    options = dict(photometric='minisblack', planarconfig='contig') | options
    tifffile.imwrite(path, img, extratags=extra, **options)


@pytest.mark.parametrize(
    'dtype, value, tag',
    [
        ('int16', -32768, '-32768'),
        ('int16', -9999, '-9999 '),
        ('uint16', 65535, '65535'),
        ('uint16', 7, '7.0'),
        ('uint8', 255, '255'),
        ('float32', -9999, '-9999'),
        ('float32', np.nan, 'nan'),
        ('float32', LOWEST, '-3.4028234663852886e+38'),
        ('float32', LOWEST, '-3.40282e+38'),
        ('float64', -1e20, '-1e+20'),
    ],
)
@pytest.mark.parametrize('named', ['in the file', 'in the config'])
def test_tag__of_gdal(tmp_path, dtype, value, tag, named):
    img = np.random.default_rng(0).integers(20, 200, (8, 6, 4)).astype(dtype)
    whole, missing = img.copy(), np.zeros(img.shape, bool)
    missing[2:5, 1:3, :2] = missing[0, 0] = True
    img[missing] = value
    options = {}
    if named == 'in the file':
        write(tmp_path / 'a.tif', img, tag)
    else:
        write(tmp_path / 'a.tif', img, '3')
        np.save(tmp_path / 'a.npy', img)
        options = dict(nodata=float(tag))
        read = load(tmp_path / 'a.npy', **options)
        assert np.array_equal(read['img'], np.where(missing, 0, whole))
    read = load(tmp_path / 'a.tif', **options)
    assert np.array_equal(read['img'], np.where(missing, 0, whole))
    assert read['img'].dtype == dtype and not isinstance(read['img'], np.ma.MaskedArray)
    assert np.array_equal(read['missing'], missing)
    read = load(tmp_path / 'a.tif', fill=17, bands=[1, 3], **options)
    assert np.array_equal(read['img'], np.where(missing, 17, whole)[..., [1, 3]])
    read = load(tmp_path / 'a.tif', window=(10, 100), **options)['img']
    assert (read[missing] == 0).all()
    assert np.array_equal(read[~missing], np.clip(whole[~missing], 10, 100) - 10)


@pytest.mark.parametrize('tag', [None, '', 'none', '-5', '1e400'])
def test_tag__that_no_pixel_has(tmp_path, tag):
    img = np.random.default_rng(0).integers(0, 200, (8, 6, 4)).astype('uint16')
    write(tmp_path / 'a.tif', img, tag)
    read = load(tmp_path / 'a.tif')
    assert np.array_equal(read['img'], img) and 'missing' not in read


def test_nan__is_data_only_where_nothing_is_named(tmp_path):
    img = np.ones((4, 4, 1), np.float32)
    img[0, 0], img[1, 1] = np.nan, -9999
    np.save(tmp_path / 'a.npy', img)
    with pytest.raises(UserError, match=r"1 of 16 values are not finite; .*nodata='nan' of Load"):
        load(tmp_path / 'a.npy')
    assert load(tmp_path / 'a.npy', nodata=-9999)['missing'].sum() == 2
    img[2, 2] = np.inf
    np.save(tmp_path / 'a.npy', img)
    with pytest.raises(UserError, match='1 of 16 values are not finite'):
        load(tmp_path / 'a.npy', nodata=-9999)


def test_fill__that_the_type_cannot_hold(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((2, 2), np.uint8))
    for fill in (-1, 256, 0.5):
        with pytest.raises(UserError, match=r'a\.npy has values of type uint8, .*fill='):
            load(tmp_path / 'a.npy', nodata=0, fill=fill)
    with pytest.raises(UserError, match='fill=nan: expected a finite number'):
        LoadMultiBandImage(fill=float('nan'))


@pytest.mark.parametrize('dtype, bits', [('uint8', 8), ('uint16', 16), ('uint16', 12)])
@pytest.mark.parametrize('tag', [None, '0'])
def test_tiff__where_0_is_white(tmp_path, dtype, bits, tag):
    """Values are inverted; the tag names the value in the file."""
    img = np.random.default_rng(0).integers(1, 2**bits - 1, (8, 6)).astype(dtype)
    img[3] = 0
    if bits == 12:
        pytest.importorskip('imagecodecs')
    own = dict(bitspersample=bits) if bits == 12 else {}
    write(tmp_path / 'a.tif', img, tag, photometric='miniswhite', planarconfig=None, **own)
    read = load(tmp_path / 'a.tif')['img'][..., 0]
    assert (read[3] == (0 if tag else 2**bits - 1)).all()
    assert np.array_equal(np.delete(read, 3, 0), 2**bits - 1 - np.delete(img, 3, 0))


def test_tiff__nodata_of_a_palette(tmp_path):
    colors = np.random.default_rng(0).integers(1, 255, (3, 256)).astype(np.uint16)
    numbers = np.random.default_rng(0).integers(0, 9, (8, 6)).astype(np.uint8)
    own = dict(photometric='palette', planarconfig=None, colormap=colors * 256)
    write(tmp_path / 'a.tif', numbers, '5', **own)
    read = load(tmp_path / 'a.tif')
    assert np.array_equal(read['missing'], np.repeat((numbers == 5)[..., None], 3, 2))
    assert not read['img'][numbers == 5].any() and read['img'][numbers != 5].all()


def test_tiff__the_main_page_says_what_values_mean(tmp_path):
    img = np.random.default_rng(0).integers(0, 255, (8, 6)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        own = dict(photometric='minisblack', metadata=None)
        file.write(img[::2, ::2].astype(np.uint16), subfiletype=1, **own)
        own |= dict(photometric='miniswhite', extratags=[(42113, 2, 0, '7', True)])
        file.write(img, subfiletype=0, **own)
    read = load(tmp_path / 'a.tif')['img'][..., 0]
    assert np.array_equal(read, np.where(img == 7, 0, 255 - img))


def test_tiff__whose_palette_is_damaged(tmp_path):
    colors = np.zeros((3, 256), np.uint16)
    own = dict(photometric='palette', planarconfig=None, colormap=colors)
    write(tmp_path / 'a.tif', np.zeros((8, 6), np.uint8), **own)
    content = bytearray((tmp_path / 'a.tif').read_bytes())
    place = content.index(struct.pack('<HHI', 320, 3, 768))
    struct.pack_into('<I', content, place + 4, 1)
    (tmp_path / 'a.tif').write_bytes(content)
    with pytest.raises(UserError, match=r'a\.tif has numbers that are not in its palette'):
        load(tmp_path / 'a.tif')
