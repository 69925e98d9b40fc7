"""A file broken in each way is found under the name of that way, and a good one is not."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from beit_mm.datasets import UnlabelledImageFolder
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.preflight.files import Loader, MaskRules, Sample, check_sample
from beit_mm.preflight.files.some_images import check_some_images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
IDS = np.array([[0, 1, 2, 255]], np.uint8).repeat(24, 0).repeat(8, 1)
RULES = MaskRules(num_classes=3)


def kinds(image, mask=None, loader=None, rules=RULES):
    found, _ = check_sample(
        Sample(str(image), mask and str(mask)), loader or Loader(crop=(16, 16), patch=8), rules
    )
    assert all(str(f.place) in (str(image), str(mask)) for f in found)
    return [f'{f.level}:{f.kind}' for f in found]


@pytest.fixture
def files(tmp_path):
    """Functions that write a file and return its path."""

    class Files:
        def image(self, name='a.png', pixels=PIXELS, mode=None, **options):
            image = Image.fromarray(pixels)
            image = image.convert(mode) if mode else image
            image.save(tmp_path / name, **options)
            return tmp_path / name

        def mask(self, ids=IDS, name='m.png', **options):
            return self.image(name, ids, **options)

        def raw(self, content, name='a.png'):
            (tmp_path / name).write_bytes(content)
            return tmp_path / name

    return Files()


# ---- images ----


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.JPEG', 'a.bmp', 'a.webp', 'a.tif', 'a.ppm'])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_good_images__nothing_found(files, name, mode):
    assert kinds(files.image(name, mode=mode)) == []


def test_good_palette__nothing_found(files):
    assert kinds(files.image('a.png', mode='P')) == []


def test_missing(tmp_path):
    assert kinds(tmp_path / 'a.png') == ['error:missing']


def test_unreadable(tmp_path):
    assert kinds(tmp_path) == ['error:unreadable']  # a folder with the name of an image


def test_empty_file(files):
    assert kinds(files.raw(b'')) == ['error:empty-file']


@pytest.mark.parametrize('content', [b'<!DOCTYPE html><html>', bytes(RNG.bytes(200))])
def test_undecodable(files, content):
    assert kinds(files.raw(content)) == ['error:undecodable']


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.bmp', 'a.tif'])
@pytest.mark.parametrize('share', [0.5, 0.9])
def test_truncated(files, name, share):
    content = files.image(name).read_bytes()
    assert kinds(files.raw(content[: int(len(content) * share)], name)) == ['error:truncated']


def test_damaged_png__fails_its_check_sum(files):
    content = bytearray(files.image().read_bytes())
    content[len(content) // 2] ^= 0xFF
    assert kinds(files.raw(bytes(content))) == ['error:undecodable']
    content = bytearray(files.image().read_bytes())
    content[-13] ^= 0xFF  # of the check sum itself, which Pillow reads past
    path = files.raw(bytes(content))
    assert kinds(path, loader=Loader(backend='pillow')) == ['error:undecodable']


def test_file_that_the_loader_cannot_read(files, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: None)
    assert kinds(files.image()) == ['error:undecodable']
    assert kinds(files.image(), loader=Loader(backend='pillow')) == []


@pytest.mark.parametrize('format, name', [('PNG', 'a.jpg'), ('JPEG', 'a.png'), ('WEBP', 'a.JPEG')])
def test_wrong_extension(files, format, name):
    assert kinds(files.image(name, format=format)) == ['warning:wrong-extension']


def png_16bit_rgb(path):
    cv2.imwrite(str(path), RNG.integers(0, 65536, (24, 32, 3), dtype=np.uint16))
    return path


def test_sixteen_bit(files, tmp_path):
    gray = RNG.integers(0, 65536, (24, 32), dtype=np.uint16)
    for path in (files.image('a.png', gray), files.image('a.tif', gray)):
        assert kinds(path) == ['error:sixteen-bit']
    assert kinds(png_16bit_rgb(tmp_path / 'b.png')) == ['error:sixteen-bit']
    assert kinds(png_16bit_rgb(tmp_path / 'b.tif'), loader=Loader(backend='pillow')) != []


def test_sixteen_bit__where_they_are_kept(tmp_path):
    path = png_16bit_rgb(tmp_path / 'a.png')
    assert kinds(path, loader=Loader(LoadMultiBandImage(channels=3))) == []
    assert kinds(path, loader=Loader(eight_bit=False)) == []


def test_cmyk(files):
    assert kinds(files.image('a.jpg', mode='CMYK')) == ['warning:cmyk']


def test_alpha(files):
    assert kinds(files.image('a.png', mode='RGBA')) == ['warning:alpha']
    assert kinds(files.image('a.png', mode='LA')) == ['warning:alpha']
    assert kinds(files.image('a.png', mode='P', transparency=0)) == ['warning:alpha']


@pytest.mark.parametrize('size', [(1, 1), (1, 40), (40, 1)])
def test_one_pixel(files, size):
    assert kinds(files.image(pixels=np.zeros((*size, 3), np.uint8))) == ['error:one-pixel']


@pytest.mark.parametrize('value', [0, 255, (7, 8, 9)])
def test_constant(files, value):
    pixels = np.zeros((40, 30, 3), np.uint8)
    pixels[:] = value
    assert kinds(files.image(pixels=pixels)) == ['warning:constant']
    pixels[5, 5, 1] = 99
    assert kinds(files.image(pixels=pixels)) == []


def test_smaller_than_patch_and_crop(files):
    assert kinds(files.image(pixels=PIXELS[:7])) == ['warning:smaller-than-patch']
    assert kinds(files.image(pixels=PIXELS[:15])) == ['note:smaller-than-crop']
    assert kinds(files.image(pixels=PIXELS[:16, :16])) == []


def test_size__as_it_is_loaded(files):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = files.image('a.jpg', exif=exif)  # 24 x 32, and 32 x 24 upright
    assert kinds(path, loader=Loader(crop=(32, 24))) == []
    assert kinds(path, loader=Loader(crop=(32, 24), turns=False)) == ['note:smaller-than-crop']


def test_huge(files, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 24 * 32 - 1)
    assert kinds(files.image()) == ['warning:huge']


def test_decompression_bomb(files):
    def chunk(name, data):
        crc = zlib.crc32(name + data)
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', crc)

    header = struct.pack('>IIBBBBB', 30_000, 30_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    content = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data)
    assert kinds(files.raw(content + chunk(b'IEND', b''))) == ['error:decompression-bomb']


def test_bands(tmp_path):
    loader = Loader(LoadMultiBandImage(channels=4))
    np.save(tmp_path / 'a.npy', np.zeros((9, 9, 4), np.float32))
    assert kinds(tmp_path / 'a.npy', loader=loader) == ['warning:constant']
    np.save(tmp_path / 'a.npy', np.linspace(0, 1, 324, dtype=np.float32).reshape(9, 9, 4))
    assert kinds(tmp_path / 'a.npy', loader=loader) == []
    np.save(tmp_path / 'a.npy', np.full((9, 9, 4), np.nan, np.float32))
    assert kinds(tmp_path / 'a.npy', loader=loader) == ['error:undecodable']
    np.save(tmp_path / 'a.npy', np.zeros((9, 9, 3), np.float32))
    assert kinds(tmp_path / 'a.npy', loader=loader) == ['error:undecodable']


# ---- masks ----


@pytest.mark.parametrize('mode', ['L', 'P'])
def test_good_masks__nothing_found(files, mode):
    assert kinds(files.image(), files.mask(mode=mode)) == []


def test_mask_missing_and_broken(files, tmp_path):
    image = files.image()
    assert kinds(image, tmp_path / 'm.png') == ['error:mask-missing']
    assert kinds(image, files.raw(b'', 'm.png')) == ['error:mask-empty-file']
    assert kinds(image, files.raw(b'no mask', 'm.png')) == ['error:mask-undecodable']
    content = files.image('m.png', RNG.integers(0, 3, (24, 32), dtype=np.uint8)).read_bytes()
    half = files.raw(content[: len(content) // 2], 'm.png')
    assert kinds(image, half) == ['error:mask-truncated']


def test_mask_of_an_image_that_is_broken__is_checked_itself(files):
    assert kinds(files.raw(b'no image'), files.mask()) == ['error:undecodable']
    expected = ['error:undecodable', 'error:mask-id-out-of-range']
    assert kinds(files.raw(b'no image'), files.mask(IDS + 1)) == expected


def test_mask_size_and_transposed(files):
    image = files.image()
    assert kinds(image, files.mask(IDS[:23])) == ['error:mask-size']
    assert kinds(image, files.mask(IDS[:12, :16])) == ['error:mask-size']
    assert kinds(image, files.mask(IDS.T.copy())) == ['error:mask-transposed']


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_mask_in_file_orientation(files, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = files.image('a.jpg', exif=exif)
    assert kinds(image, files.mask()) == ['error:mask-exif']
    assert kinds(image, files.mask(IDS.T.copy())) == []  # upright, as the image is loaded
    flat, rules = Loader(turns=False), MaskRules(num_classes=3, turns=False)
    assert kinds(image, files.mask(), flat, rules) == []
    assert kinds(image, files.mask(IDS.T.copy()), flat, rules) == ['error:mask-transposed']


@pytest.mark.parametrize('orientation', [2, 3, 4])
def test_mask_in_file_orientation__sizes_do_not_tell(files, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = files.image('a.jpg', exif=exif)
    assert kinds(image, files.mask()) == ['warning:mask-exif']
    exif[0x0112] = 1
    assert kinds(files.image('a.jpg', exif=exif), files.mask()) == []


def test_mask_rgb_and_alpha(files):
    image = files.image()
    assert kinds(image, files.image('m.png')) == ['error:mask-rgb']
    assert kinds(image, files.mask(mode='LA')) == ['error:mask-alpha']


def test_mask_lossy(files, tmp_path):
    Image.fromarray(IDS.astype(np.uint8)).save(tmp_path / 'm.jpg', quality=100)
    found = kinds(files.image(), tmp_path / 'm.jpg', rules=MaskRules(num_classes=None))
    assert 'warning:mask-lossy' in found


def test_mask_sixteen_bit(files):
    image, wide = files.image(), IDS.astype(np.uint16)
    wide[0, 0] = 257
    assert kinds(image, files.mask(wide)) == ['error:mask-sixteen-bit']
    strict = MaskRules(num_classes=300, ignore_index=65535, wraps=False)
    assert kinds(image, files.mask(wide), rules=strict) == []
    wide[0, 0] = 1
    assert kinds(image, files.mask(wide)) == ['note:mask-sixteen-bit']


def test_mask_id_out_of_range(files):
    image, ids = files.image(), IDS.copy()
    ids[5, 5] = 3
    assert kinds(image, files.mask(ids)) == ['error:mask-id-out-of-range']
    assert kinds(image, files.mask(ids), rules=MaskRules(num_classes=4)) == []
    assert kinds(image, files.mask(ids), rules=MaskRules(num_classes=None)) == []
    reduced = MaskRules(num_classes=3, reduce_zero_label=True)
    assert kinds(image, files.mask(ids), rules=reduced) == []  # 1 to 3 are 0 to 2
    ids[5, 5] = 4
    assert kinds(image, files.mask(ids), rules=reduced) == ['error:mask-id-out-of-range']
    mapped = MaskRules(num_classes=3, label_map={4: 2})
    assert kinds(image, files.mask(ids), rules=mapped) == []


def test_mask_ignore_index(files):
    image, ids = files.image(), np.where(IDS == 255, 7, IDS).astype(np.uint8)
    assert kinds(image, files.mask(ids)) == ['error:mask-id-out-of-range']
    assert kinds(image, files.mask(ids), rules=MaskRules(3, ignore_index=7)) == []


@pytest.mark.parametrize(('value', 'level'), [(0, 'note'), (2, 'note'), (255, 'warning')])
def test_mask_constant(files, value, level):
    assert kinds(files.image(), files.mask(np.full_like(IDS, value))) == [f'{level}:mask-constant']


def test_mask_one_row(files):
    image = files.image(pixels=PIXELS[:1])
    assert kinds(image, files.mask(IDS[:1])) == ['error:one-pixel', 'error:mask-one-row']
    rules = MaskRules(num_classes=3, wraps=False)
    assert kinds(image, files.mask(IDS[:1]), rules=rules) == ['error:one-pixel']


def test_mask_array(files, tmp_path):
    np.save(tmp_path / 'm.npy', IDS.astype(np.int64))
    rules = MaskRules(num_classes=3, wraps=False)
    assert kinds(files.image(), tmp_path / 'm.npy', rules=rules) == []
    assert kinds(files.image(), tmp_path / 'm.npy') == ['error:mask-undecodable']
    np.save(tmp_path / 'm.npy', IDS.astype(np.float32))
    assert kinds(files.image(), tmp_path / 'm.npy', rules=rules) == ['error:mask-undecodable']


# ---- images that do not belong together ----


def folder(path, images):
    for name, image in images.items():
        if name.endswith('.npy'):
            np.save(path / name, image)
        else:
            cv2.imwrite(str(path / name), image)
    endings = ('.png', '.jpg', '.npy')
    return UnlabelledImageFolder(str(path), [LoadMultiBandImage()], extensions=endings)


@pytest.mark.parametrize(
    'other, values',
    [
        (PIXELS[..., 0], '1 bands of type uint8'),
        (PIXELS.astype(np.uint16), '3 bands of type uint16'),
        (np.dstack([PIXELS, PIXELS[..., :1]]), '4 bands of type uint8'),
    ],
)
def test_mixed_bands__are_told_once(tmp_path, other, values):
    data = folder(tmp_path, {'a.png': PIXELS, 'b.png': other, 'c.jpg': PIXELS, 'd.png': other,
                             'e.png': PIXELS})  # fmt: skip
    (told,) = check_some_images(data)
    assert told.kind == 'mixed-bands' and told.place.endswith('b.png')
    assert f'has {values}, and so have 1 more; 3 images have 3 bands of' in told.message


def test_bands__that_are_alike(tmp_path):
    images = {f'{n}.{end}': PIXELS for n, end in enumerate(('png', 'jpg', 'npy'))}
    assert list(check_some_images(folder(tmp_path, images))) == []
