"""Every way to open an image: none starts a program, and none decodes what is too large."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import mmcv
import numpy as np
import pytest
import tifffile
from corpus import chunk
from mmcv.transforms import Compose
from PIL import Image

from beit_mm.cli.band_statistics import band_statistics
from beit_mm.cli.make_tiles import read
from beit_mm.contracts import UserError
from beit_mm.datasets import BadImageError, UnlabelledImageFolder
from beit_mm.datasets.image_files import (
    FORMATS,
    MAX_GIB,
    ImageTooLargeError,
    check_image_file,
    check_pixels,
    max_bytes,
    read_jpeg_head,
)
from beit_mm.datasets.named_errors import NamedErrors
from beit_mm.datasets.transforms import LoadMultiBandImage, LoadSegmentationMask
from beit_mm.preflight.files import Loader, MaskRules, Sample, check_sample
from beit_mm.preflight.files.some_images import check_some_images

pytestmark = pytest.mark.slow

EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 12\n%%EndComments\nshowpage\n%%EOF\n'
PROGRAMS = dict(
    eps=EPS,
    eps_with_preview=struct.pack('<IIIIIIIH', 0xC6D3D0C5, 30, len(EPS), 0, 0, 0, 0, 0) + EPS,
    eps_other_line_ends=EPS.replace(b'\n', b'\r'),
    wmf=b'\xd7\xcd\xc6\x9a\0\0' + struct.pack('<hhhhHI', 0, 0, 16, 12, 72, 0) + b'\0\0\x01\0' * 9,
    hdf5=b'\x89HDF\r\n\x1a\n' + bytes(40),
    grib=b'GRIB\0\0\0\x01' + bytes(40),
    bufr=b'BUFR' + bytes(40),
    pdf=b'%PDF-1.4\n%%EOF\n',
)


def folder(path, **options):
    load = dict(type='LoadImageFromFile', **options)
    data = UnlabelledImageFolder(str(path.parent), [load], lazy_init=True)
    data.load_data_list = lambda: [dict(img_path=str(path))]
    data.full_init()
    return data


def use_backend(path):
    mmcv.use_backend('pillow')
    try:
        return folder(path, imdecode_backend=None)[0]
    finally:
        mmcv.use_backend('cv2')


def check(path, mask=None, **options):
    found, _ = check_sample(Sample(str(path), mask and str(mask)), Loader(**options), MaskRules())
    errors = [finding for finding in found if finding.level == 'error']
    if errors:
        raise UserError(' '.join(f'{f.kind}: {f.message}' for f in errors))


def mmseg_mask(path):
    from mmseg.datasets.transforms import LoadAnnotations

    info = dict(img_path='a.png', seg_map_path=str(path), reduce_zero_label=None, seg_fields=[])
    return NamedErrors(Compose([LoadAnnotations()]))(dict(info))


OPENINGS = dict(
    check=check,
    check_bands=lambda path: check(path, bands=LoadMultiBandImage()),
    check_pillow=lambda path: check(path, backend='pillow'),
    check_mask=lambda path: check('nothing.png', path),
    check_some=lambda path: list(check_some_images(folder(path))),
    cv2=lambda path: folder(path)[0],
    pillow=lambda path: folder(path, imdecode_backend='pillow')[0],
    use_backend=use_backend,
    bands=lambda path: LoadMultiBandImage().transform(dict(img_path=str(path))),
    mask=lambda path: LoadSegmentationMask().transform(dict(seg_map_path=str(path))),
    mmseg_mask=mmseg_mask,
    named_errors=lambda path: NamedErrors(LoadMultiBandImage())(dict(img_path=str(path))),
    tiles=read,
    statistics=lambda path: band_statistics([str(path)], LoadMultiBandImage()),
)


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that exists when Ghostscript has been started."""
    file, folder = tmp_path / 'ran', tmp_path / 'bin'
    folder.mkdir()
    (folder / 'gs').write_text(f'#!/bin/sh\ntouch {file}\n')
    (folder / 'gs').chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
    return file


@pytest.mark.parametrize('kind', PROGRAMS)
@pytest.mark.parametrize('opening', OPENINGS)
def test_no_file_starts_a_program(tmp_path, marker, kind, opening):
    for ending in ('.jpg', '.tif'):
        path = tmp_path / f'a{ending}'
        path.write_bytes(PROGRAMS[kind])
        if opening == 'check_some':  # it leaves what cannot be read to the training
            OPENINGS[opening](path)
        else:
            with pytest.raises((ValueError, OSError)):
                OPENINGS[opening](path)
        assert not marker.exists()


def test_pillow_knows_no_other_format():
    assert set(Image.OPEN) <= set(FORMATS) and set(Image.ID) <= set(FORMATS)
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(EPS))


def test_pillow_knows_no_other_format__in_a_training():
    code = 'import beit_mm.cli.train; from PIL import Image; Image.init(); assert "EPS" not in '
    subprocess.run([sys.executable, '-c', code + '{*Image.OPEN, *Image.ID}'], check=True)


# ---- what fills the memory ----

SIDE = 640  # 1.2 MB in three channels


def png(side, depth=8, color=2):
    row = bytes(1 + side * {0: 1, 2: 3, 6: 4}[color] * depth // 8)
    header = struct.pack('>IIBBBBB', side, side, depth, color, 0, 0, 0)
    parts = chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(row * side)), chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def pillow(kind, mode='RGB', **options):
    file = io.BytesIO()
    Image.new(mode, (SIDE, SIDE)).save(file, kind, **options)
    return file.getvalue()


def tiff(*shape, dtype=np.uint8, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros(shape, dtype), compression='zlib', **options)
    return file.getvalue()


def one_tile():
    """16 x 16 pixels in a tile of 1024 x 1024."""
    return tiff(16, 16, 3, tile=(1024, 1024), photometric='rgb')


TOO_LARGE = {
    'a.png': png(SIDE),
    '16-bit.png': png(SIDE, 16),
    'rgba.png': png(SIDE, 8, 6),
    'gray.png': png(SIDE, 8, 0),
    'a.jpg': pillow('JPEG'),
    'a.bmp': pillow('BMP'),
    'a.webp': pillow('WEBP'),
    'a.gif': pillow('GIF', 'P'),
    'a.ppm': pillow('PPM'),
    'a.jp2': pillow('JPEG2000'),
    'a.avif': pillow('AVIF'),
    'png-named.jpg': png(SIDE),
    'a.tif': tiff(SIDE, SIDE, 3, photometric='rgb'),
    'gray.tif': tiff(2 * SIDE, SIDE, dtype=np.uint16, photometric='minisblack'),
    'tiff-named.png': tiff(SIDE, SIDE, 3, photometric='rgb'),
    '13-bands.tif': tiff(SIDE, SIDE, 13, planarconfig='contig', photometric='minisblack'),
    'float64.tif': tiff(SIDE, SIDE, dtype=np.float64),
    'tile.tif': one_tile(),
    'a.hdr': b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 640 +X 640\n' + bytes(100),
    'lines.hdr': b'#?RADIANCE\n' + b'x' * 127 + b'\n-Y 640+X 640\n\n-Y 1 +X 1\n' + bytes(100),
    'signs.hdr': b'#?RADIANCE\n\n-Y +640 +X +640\n-Y 1 +X 1\n' + bytes(100),
    'decoy.hdr': b'#?RADIANCE\n-Y 1 +X 1\nFORMAT=32-bit_rle_rgbe\n\n-Y 640 +X 640\n' + bytes(100),
    'palette.tif': tiff(
        SIDE, SIDE, dtype=np.uint8, photometric='palette', colormap=np.zeros((3, 256), np.uint16)
    ),
    'a.pfm': b'PF\n640 640\n-1.0\n' + bytes(100),
    'a.pam': b'P7\nWIDTH 640\nHEIGHT 640\nDEPTH 4\nMAXVAL 65535\nTUPLTYPE RGB_ALPHA\nENDHDR\n',
    'sparse.jpg': bytes(2**20 + 1),
}


@pytest.mark.parametrize('name', TOO_LARGE)
@pytest.mark.parametrize('opening', OPENINGS)
def test_too_large__is_refused_before_it_is_decoded(tmp_path, monkeypatch, name, opening):
    path = tmp_path / name
    path.write_bytes(TOO_LARGE[name])
    monkeypatch.setenv(MAX_GIB, str(2**-10))  # 1 MiB
    decoded = []
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: decoded.append('cv2'))
    monkeypatch.setattr(cv2, 'imread', lambda *_: decoded.append('cv2'))
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda self: decoded.append('pillow'))
    monkeypatch.setattr(tifffile.TiffPage, 'decode', lambda *_, **__: decoded.append('tifffile'))
    if opening == 'check_some':
        assert [f.kind for f in check_some_images(folder(path))] in ([], ['decompression-bomb'])
    elif name == 'sparse.jpg' and opening in ('bands', 'mask'):
        return  # what has been read is in memory already
    else:
        unknown = '|that Pillow can read' if opening == 'mask' else ''
        with pytest.raises(UserError, match=MAX_GIB + unknown) as error:
            OPENINGS[opening](path)
        if opening.startswith('check'):
            assert 'decompression-bomb: ' in str(error.value)
        else:
            assert name in str(error.value)
    assert not decoded


@pytest.mark.parametrize('opening', ['check', 'bands', 'cv2', 'pillow', 'tiles', 'statistics'])
def test_too_large__is_read_where_the_limit_is_raised(tmp_path, monkeypatch, opening):
    (tmp_path / 'a.png').write_bytes(png(SIDE))
    monkeypatch.setenv(MAX_GIB, str(2**-10))
    with pytest.raises(UserError, match=MAX_GIB):
        OPENINGS[opening](tmp_path / 'a.png')
    monkeypatch.setenv(MAX_GIB, str(2**-9))
    OPENINGS[opening](tmp_path / 'a.png')


def test_pages_of_a_tiff_count_together(tmp_path, monkeypatch):
    (tmp_path / 'a.tif').write_bytes(tiff(20, 256, 256, photometric='minisblack'))
    monkeypatch.setenv(MAX_GIB, str(2**-10))
    assert LoadMultiBandImage(bands=[0]).decode('a.tif', tiff(4, 256, 256)).shape == (256, 256, 4)
    for opening in ('bands', 'check_bands', 'named_errors', 'statistics'):
        with pytest.raises(UserError, match=MAX_GIB):
            OPENINGS[opening](tmp_path / 'a.tif')


@pytest.mark.parametrize('compression', ['zlib', 'lzma'])
def test_strip_that_unpacks_to_more_than_its_pixels(monkeypatch, compression):
    """A TIFF of 16 x 16 pixels whose one strip unpacks to 20 MiB."""
    import lzma

    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((16, 16), np.uint8), compression=compression)
    content = bytearray(file.getvalue())
    strip = (zlib if compression == 'zlib' else lzma).compress(bytes(20 * 2**20))
    for tag, value in ((273, len(content)), (279, len(strip))):
        place = content.index(struct.pack('<HHI', tag, 4, 1))
        struct.pack_into('<I', content, place + 8, value)
    monkeypatch.setenv(MAX_GIB, str(2**-8))
    with pytest.raises(ImageTooLargeError, match=r'a\.tif has a strip'):
        LoadMultiBandImage().read('a.tif', bytes(content) + strip)


CODECS = {  # compression of TIFF -> a strip that claims more than 1 MiB, or does not say
    6: pillow('JPEG'),
    7: pillow('JPEG', progressive=True),
    33007: pillow('JPEG', 'L', quality=20),
    34892: pillow('JPEG').replace(b'\xff\xc0', b'\xff\xc3'),
    33003: pillow('JPEG2000', no_jp2=True),
    34712: pillow('JPEG2000'),
    34933: png(SIDE),
    50001: pillow('WEBP', lossless=True),
    50002: b'\xff\x0a' + bytes(50),
    34887: b'Lerc2 ' + struct.pack('<iIiii', 4, 0, SIDE, SIDE, 1),
    34934: b'II\xbc\x01' + bytes(50),
}


@pytest.mark.parametrize('compression', CODECS)
def test_strip_whose_own_header_says_another_size(monkeypatch, compression):
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((16, 16), np.uint8))
    content = bytearray(file.getvalue())
    for tag, size, value in (
        (259, 3, compression),
        (273, 4, len(content)),
        (279, 4, len(CODECS[compression])),
    ):
        place = content.index(struct.pack('<HHI', tag, size, 1))
        struct.pack_into('<H' if size == 3 else '<I', content, place + 8, value)
    monkeypatch.setenv(MAX_GIB, str(2**-10))
    monkeypatch.setattr(tifffile.TiffPage, 'asarray', lambda *_, **__: pytest.fail('decoded'))
    with pytest.raises(UserError, match=rf'a\.tif .*({MAX_GIB}|cannot be counted)'):
        LoadMultiBandImage().read('a.tif', bytes(content) + CODECS[compression])


@pytest.mark.parametrize('depth, color', [(8, 0), (8, 2), (16, 2), (8, 6)])
def test_limit__a_photo_of_200_megapixels_passes(depth, color):
    def header(width, height):
        fields = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)
        return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', fields) + chunk(b'IDAT', b'')

    check_pixels(header(16320, 12240))
    with pytest.raises(ImageTooLargeError, match=MAX_GIB):
        check_pixels(header(30_000, 30_000))


@pytest.mark.parametrize('text', ['', 'much', '0', '-1', 'nan', 'inf'])
def test_limit__mistakes_are_named(tmp_path, monkeypatch, text):
    (tmp_path / 'a.png').write_bytes(png(9))
    monkeypatch.setenv(MAX_GIB, text)
    with pytest.raises(UserError, match=f'{MAX_GIB}={text!r}'):
        max_bytes()
    with pytest.raises(BadImageError, match=MAX_GIB):
        folder(tmp_path / 'a.png')[0]


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'a.jpg')
    (tmp_path / 'b.jpg').symlink_to('/dev/zero')
    for name in ('a.jpg', 'b.jpg'):
        with pytest.raises(UserError, match='pipe or a device'):
            check_image_file(tmp_path / name)
        with pytest.raises(BadImageError, match=name):
            folder(tmp_path / name)[0]
        with pytest.raises(UserError, match='unreadable'):
            check(tmp_path / name)


def damaged_headers():
    """Images that OpenCV decodes although Pillow refuses them, by name."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (60, 80, 3), np.uint8)
    png = cv2.imencode('.png', pixels)[1].tobytes()
    wrong = struct.pack('>I', 4) + b'tEXta\0bc' + b'\0\0\0\0'
    yield 'wrong checksum.png', png[:33] + wrong + png[33:]
    jpeg = cv2.imencode('.jpg', pixels)[1].tobytes()
    yield 'cut profile.jpg', jpeg[:2] + b'\xff\xe2\x00\x0eICC_PROFILE\0' + jpeg[2:]
    radiance = cv2.imencode('.hdr', pixels.astype(np.float32))[1].tobytes()
    yield 'spaces.hdr', radiance.replace(b'-Y 60 +X 80', b'-Y  60 +X 80')
    yield 'comments.hdr', radiance.replace(b'\n', b'\n#' + b'x' * 5000 + b'\n', 1)


@pytest.mark.parametrize(('name', 'content'), damaged_headers(), ids=lambda part: str(part)[:20])
def test_too_large__where_pillow_knows_no_size(tmp_path, monkeypatch, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    check_image_file(path)
    monkeypatch.setenv('BEIT_MM_MAX_IMAGE_GIB', str(10_000 / 2**30))
    with pytest.raises(UserError, match='GiB'):
        check_image_file(path)


def test_jpeg__of_very_many_scans_is_not_decoded(tmp_path):
    """Each goes through all pixels, so that a small file takes minutes."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    picture.save(tmp_path / 'a.jpg', progressive=True)
    content = (tmp_path / 'a.jpg').read_bytes()
    check_pixels(content)
    first = content.index(b'\xff\xda')
    scan = content[first : content.index(b'\xff', first + 20)]
    (tmp_path / 'a.jpg').write_bytes(content[:-2] + scan * 200 + content[-2:])
    for opening in ('check', 'bands', 'cv2', 'pillow', 'named_errors', 'tiles'):
        with pytest.raises(UserError, match=r'has 2\d\d scans'):
            OPENINGS[opening](tmp_path / 'a.jpg')
    plain = cv2.imencode('.jpg', np.zeros((40, 40, 3), np.uint8))[1].tobytes()
    assert read_jpeg_head(plain) == ((40, 40), True) and not read_jpeg_head(content)[1]
    assert read_jpeg_head(plain[:300]) == ((40, 40), False)
    rng = np.random.default_rng(0)  # a film behind it, as phones write it
    check_pixels(content + rng.integers(0, 256, 10_000_000, np.uint8).tobytes())


def without_size():
    """Images that OpenCV decodes, but whose size neither Pillow nor their header gives."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    ppm = cv2.imencode('.ppm', pixels)[1].tobytes()
    yield 'odd maximum.ppm', ppm.replace(b'\n255\n', b'\n25\xae\n')
    yield (
        'no space.pbm',
        cv2.imencode('.pbm', pixels[..., 0])[1].tobytes().replace(b'80 60', b'80\xe960'),
    )
    pfm = cv2.imencode('.pfm', pixels.astype(np.float32))[1].tobytes()
    yield 'sign.pfm', pfm.replace(b'80 60', b'80+ 60')


@pytest.mark.parametrize(('name', 'content'), [*without_size()], ids=lambda part: str(part)[:20])
def test_unknown_size__is_not_decoded(tmp_path, name, content):
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    (tmp_path / name).write_bytes(content)
    for opening in ('check', 'bands', 'cv2', 'pillow', 'named_errors', 'tiles', 'statistics'):
        with pytest.raises(UserError):
            OPENINGS[opening](tmp_path / name)


def test_opencv__decodes_no_more_pixels_than_an_image_may_have():
    """Also of a format whose size no check before the decoding knows."""
    code = (
        'import beit_mm, cv2, numpy as np\n'
        'small, large = (np.zeros((n, n), np.uint8) for n in (1500, 2000))\n'
        'whole = [cv2.imencode(".bmp", image)[1] for image in (small, large)]\n'
        'print(cv2.imdecode(whole[0], 0).shape)\n'
        'cv2.imdecode(whole[1], 0)'
    )
    environment = dict(os.environ, BEIT_MM_MAX_IMAGE_GIB='0.01')
    environment.pop('OPENCV_IO_MAX_IMAGE_PIXELS', None)
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == '(1500, 1500)', done.stderr
    assert 'cv2.error' in done.stderr and 'CV_IO_MAX_IMAGE_PIXELS' in done.stderr
