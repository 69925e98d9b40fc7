import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from beit_mm.contracts import UserError
from beit_mm.datasets import transforms
from beit_mm.registry import TRANSFORMS


def load(path, **options) -> np.ndarray:
    transform = TRANSFORMS.build(dict(type='LoadMultiBandImage', **options))
    results = transform.transform(dict(img_path=str(path)))
    assert results['img_shape'] == results['ori_shape'] == results['img'].shape[:2]
    assert results['img'].flags.c_contiguous
    return results['img']


def random(shape, dtype='uint8') -> np.ndarray:
    high = np.iinfo(dtype).max if np.dtype(dtype).kind in 'iu' else 1
    return (np.random.default_rng(0).random(shape) * high).astype(dtype)


def gray_alpha_png(img: np.ndarray) -> bytes:
    """Neither Pillow nor OpenCV writes one of 16 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + check

    height, width = img.shape[:2]
    header = struct.pack('>IIBBBBB', width, height, 8 * img.itemsize, 4, 0, 0, 0)
    rows = img.astype(img.dtype.newbyteorder('>'))
    data = zlib.compress(b''.join(b'\0' + row.tobytes() for row in rows))
    chunks = chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


@pytest.mark.parametrize('mode, bands', [('L', 1), ('LA', 2), ('RGB', 3), ('RGBA', 4)])
def test_png__bands_in_the_order_of_the_file(tmp_path, mode, bands):
    image = Image.fromarray(random((5, 7, 4)), 'RGBA').convert(mode)
    image.save(tmp_path / 'a.png')
    img = load(tmp_path / 'a.png')
    assert np.array_equal(img, np.array(image).reshape(5, 7, bands))


@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
def test_png__gray_and_alpha_are_two_bands_of_all_bits(tmp_path, dtype):
    img = random((5, 7, 2), dtype)
    (tmp_path / 'a.png').write_bytes(gray_alpha_png(img))
    read = load(tmp_path / 'a.png', channels=2)
    assert read.dtype == dtype
    assert np.array_equal(read, img)
    assert np.array_equal(load(tmp_path / 'a.png', bands=[1]), img[..., 1:])


@pytest.mark.parametrize('shape', [(6, 4), (6, 4, 3), (6, 4, 4)])
def test_png__keeps_16_bits(tmp_path, shape):
    img = random(shape, 'uint16')
    stored = img if img.ndim == 2 else img[..., [2, 1, 0, 3][: shape[2]]]
    cv2.imwrite(str(tmp_path / 'a.png'), stored)
    read = load(tmp_path / 'a.png')
    assert read.dtype == np.uint16
    assert np.array_equal(read, img.reshape(6, 4, -1))


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
@pytest.mark.parametrize('planar', ['pages', 'separate', 'contig'])
def test_tiff__pages_planes_and_samples_are_bands(tmp_path, dtype, planar):
    img = random((8, 6, 5), dtype)
    path = tmp_path / 'a.TIFF'
    if planar == 'contig':
        tifffile.imwrite(path, img, photometric='minisblack', planarconfig='contig')
    else:
        kind = {'planarconfig': 'separate'} if planar == 'separate' else {}
        tifffile.imwrite(path, img.transpose(2, 0, 1), photometric='minisblack', **kind)
    read = load(path, channels=5)
    assert read.dtype == dtype
    assert np.array_equal(read, img)


def test_tiff__rgb_and_gray(tmp_path):
    img = random((8, 6, 3))
    tifffile.imwrite(tmp_path / 'rgb.tif', img, photometric='rgb')
    tifffile.imwrite(tmp_path / 'gray.tif', img[..., 0])
    assert np.array_equal(load(tmp_path / 'rgb.tif'), img)
    assert np.array_equal(load(tmp_path / 'gray.tif'), img[..., :1])


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16', 'float32', 'float64'])
def test_npy__both_layouts(tmp_path, dtype):
    img = random((3, 4, 6), dtype)
    np.save(tmp_path / 'hwc.npy', img)
    np.save(tmp_path / 'chw.npy', img.transpose(2, 0, 1))
    np.save(tmp_path / 'gray.npy', img[..., 0])
    assert np.array_equal(load(tmp_path / 'hwc.npy'), img)
    assert np.array_equal(load(tmp_path / 'chw.npy', layout='chw'), img)
    assert np.array_equal(load(tmp_path / 'gray.npy', layout='chw'), img[..., :1])
    assert load(tmp_path / 'hwc.npy').dtype == dtype


def test_bands__chosen_in_order(tmp_path):
    img = random((3, 4, 6))
    np.save(tmp_path / 'a.npy', img)
    assert np.array_equal(load(tmp_path / 'a.npy', bands=[5, 0, 0]), img[..., [5, 0, 0]])


def test_npy__runs_no_code_of_the_file(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([dict(a=1)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r'a\.npy is not a readable \.npy array'):
        load(tmp_path / 'a.npy')


@pytest.mark.parametrize(
    'content, name',
    [(b'', 'a.png'), (b'no image', 'a.jpg'), (b'II*\x00', 'a.tif'), (b'', 'a.tif'), (b'', 'a.npy')],
)
def test_undecodable__names_the_file(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace('.', r'\.')):
        load(tmp_path / name)


@pytest.mark.parametrize('writer', ['tifffile', 'pillow'])
def test_tiff__pages_written_one_by_one_are_bands(tmp_path, writer):
    pages = np.random.default_rng(0).integers(0, 256, (3, 6, 5), dtype=np.uint8)
    path = tmp_path / 'pages.tif'
    if writer == 'tifffile':
        with tifffile.TiffWriter(path) as file:
            for page in pages:
                file.write(page, contiguous=False)
    else:
        first, *others = map(Image.fromarray, pages)
        first.save(path, save_all=True, append_images=others)
    img = load(path, channels=3)
    assert np.array_equal(img, pages.transpose(1, 2, 0))


def test_tiff__several_images_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        file.write(random((8, 6)))
        file.write(random((5, 5)))
    with pytest.raises(UserError, match=r'a\.tif has 2 images'):
        load(tmp_path / 'a.tif')


def test_mistakes__named(tmp_path):
    img = random((3, 4, 6), 'float32')
    np.save(tmp_path / 'a.npy', img)
    with pytest.raises(UserError, match='has 6 bands, but LoadMultiBandImage.channels=4'):
        load(tmp_path / 'a.npy', channels=4)
    with pytest.raises(UserError, match=r"take bands from 0 to 5, or set layout='chw'"):
        load(tmp_path / 'a.npy', bands=[6])
    img[0, 0, 0] = np.nan
    np.save(tmp_path / 'b.npy', img)
    with pytest.raises(UserError, match=r'b\.npy: 1 of 72 values are not finite'):
        load(tmp_path / 'b.npy')
    np.save(tmp_path / 'c.npy', img.astype('complex64'))
    with pytest.raises(UserError, match='values of type complex64; expected one of uint8'):
        load(tmp_path / 'c.npy')
    np.save(tmp_path / 'd.npy', img[None])
    with pytest.raises(UserError, match=r'd\.npy has shape \(1, 3, 4, 6\)'):
        load(tmp_path / 'd.npy')
    with pytest.raises(FileNotFoundError):
        load(tmp_path / 'e.npy')
    for wrong, message in (
        (dict(layout='whc'), 'LoadMultiBandImage.layout'),
        (dict(bands=[]), 'LoadMultiBandImage.bands'),
        (dict(bands=[-1]), 'LoadMultiBandImage.bands'),
        (dict(bands=[0], channels=2), 'takes 1'),
    ):
        with pytest.raises(UserError, match=message):
            load(tmp_path / 'a.npy', **wrong)


def test_window__of_signed_values(tmp_path):
    """Hounsfield units: air at -1024 becomes 0, and what lies outside is clipped."""
    values = np.array([[[-2000], [-1024]], [[0], [4000]]], np.int16)
    np.save(tmp_path / 'a.npy', values)
    img = load(tmp_path / 'a.npy', window=(-1024, 3071))
    assert img.dtype == np.float32
    assert img.ravel().tolist() == [0, 0, 1024, 4095]
    for window in ((5, 5), (5, 1), 7, (1, 2, 3)):
        with pytest.raises(UserError, match='LoadMultiBandImage.window'):
            load(tmp_path / 'a.npy', window=window)


def test_dtype__of_another_file_is_an_error(tmp_path):
    load = transforms.LoadMultiBandImage(dtype='uint16')
    for dtype in ('uint8', 'uint16'):
        np.save(tmp_path / f'{dtype}.npy', np.ones((4, 4, 2), dtype))
    assert load.transform(dict(img_path=str(tmp_path / 'uint16.npy')))['img'].dtype == np.uint16
    with pytest.raises(UserError, match='uint8.npy has values of type uint8; expected uint16'):
        load.transform(dict(img_path=str(tmp_path / 'uint8.npy')))
    with pytest.raises(UserError, match='LoadMultiBandImage.dtype'):
        transforms.LoadMultiBandImage(dtype='int64')


@pytest.mark.parametrize('kind', ['npy', 'minisblack', 'miniswhite'])
def test_two_levels__are_0_and_255_as_opencv_has_them(tmp_path, kind):
    bits = np.random.default_rng(0).random((8, 16)) < 0.5
    path = tmp_path / ('a.npy' if kind == 'npy' else 'a.tif')
    if kind == 'npy':
        np.save(path, bits)
        expected = bits * 255
    else:
        tifffile.imwrite(path, bits, photometric=kind)
        expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    img = transforms.LoadMultiBandImage().transform(dict(img_path=str(path)))['img']
    assert img.dtype == np.uint8 and (img[..., 0] == expected).all()
