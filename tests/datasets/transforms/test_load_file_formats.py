"""TIFFs with extra pages or a palette, and formats of optional packages."""

import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from beit_mm.contracts import MissingPackageError, UserError
from beit_mm.datasets.transforms import LoadMultiBandImage, LoadSegmentationMask


def load(path, **options) -> np.ndarray:
    return LoadMultiBandImage(**options).transform(dict(img_path=str(path)))['img']


def random(shape, dtype='uint8') -> np.ndarray:
    high = np.iinfo(dtype).max if np.dtype(dtype).kind in 'iu' else 1
    return (np.random.default_rng(0).random(shape) * high).astype(dtype)


class Kept(io.BytesIO):
    """A file in memory that tifffile does not close."""

    def close(self):
        pass


def with_extra_pages(img, overview_first=False):
    """A TIFF as GDAL writes it: an image, its overview, and a mask of each (NewSubfileType)."""
    file, small = Kept(), img[::2, ::2]
    photometric = 'rgb' if img.ndim == 3 and img.shape[2] == 3 else 'minisblack'
    own = dict(photometric=photometric, metadata=None, tile=(16, 16))
    own |= dict(planarconfig='contig') if img.ndim == 3 else {}
    mask = np.ones(img.shape[:2], np.uint8)
    with tifffile.TiffWriter(file) as writer:
        pages = [(img, 0), (small, 1), (mask, 4), (mask[::2, ::2], 5)]
        for array, _ in sorted(pages, key=lambda page: page[0] is not small and overview_first):
            options = own if array is img or array is small else dict(metadata=None, tile=(16, 16))
            writer.write(array, subfiletype=0 if array is img else 1, **options)
    file.seek(0)
    with tifffile.TiffFile(file, mode='r+b') as tiff:
        for page in tiff.pages:
            if (
                len(page.shape) == 2
                and page.subfiletype
                and not (img.ndim == 2 and page.index == 1)
            ):
                page.tags[254].overwrite(4 if page.shape == img.shape[:2] else 5)
    return file.getvalue()


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
@pytest.mark.parametrize('shape', [(32, 48), (32, 48, 3), (32, 48, 4), (32, 48, 13)])
@pytest.mark.parametrize('overview_first', [False, True])
def test_tiff__thumbnails_overviews_and_masks_are_left_out(shape, dtype, overview_first):
    img = random(shape, dtype)
    read = LoadMultiBandImage().read('a.tif', with_extra_pages(img, overview_first))
    assert read.dtype == dtype and np.array_equal(read, img.reshape(32, 48, -1))


def test_tiff__overviews_below_the_page(tmp_path):
    img = random((32, 48, 4), 'uint16')
    options = dict(photometric='minisblack', planarconfig='contig', tile=(16, 16))
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        file.write(img, subifds=1, **options)
        file.write(img[::2, ::2], subfiletype=1, **options)
    assert np.array_equal(load(tmp_path / 'a.tif'), img)


@pytest.mark.parametrize('factor', [1, 257])
def test_tiff__palette_is_colors(tmp_path, factor):
    colors = random((256, 3), 'uint8')
    numbers = random((8, 6), 'uint8')
    tifffile.imwrite(
        tmp_path / 'a.tif',
        numbers,
        photometric='palette',
        colormap=(colors.astype(np.uint16) * factor).T,
    )
    assert np.array_equal(load(tmp_path / 'a.tif', channels=3), colors[numbers])


def test_tiff__palette_of_pillow(tmp_path):
    image = Image.fromarray(random((8, 6, 3))).convert('P')
    image.save(tmp_path / 'a.tif')
    assert np.array_equal(load(tmp_path / 'a.tif'), np.array(image.convert('RGB')))


def ct(pixels, **more):
    """A DICOM file of one CT slice or of frames."""
    pydicom = pytest.importorskip('pydicom')
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.CTImageStorage, '1.2.3'
    data.Rows, data.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, 'MONOCHROME2'
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == 'i')
    data.PixelData = pixels.tobytes()
    for name, value in more.items():
        setattr(data, name, value)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize('shape', [(8, 6), (5, 8, 6)])
@pytest.mark.parametrize('dtype', ['uint16', 'int16'])
def test_dicom__in_hounsfield_units(shape, dtype):
    pixels = np.random.default_rng(0).integers(0, 4096, shape).astype(dtype)
    expected = pixels.reshape(-1, 8, 6).transpose(1, 2, 0)
    read = LoadMultiBandImage().read
    assert np.array_equal(read('a.dcm', ct(pixels)), expected)
    assert read('a.dcm', ct(pixels)).dtype == dtype
    img = read('a.dcm', ct(pixels, RescaleSlope=1, RescaleIntercept=-1024))
    assert img.dtype == np.int16 and np.array_equal(img, expected.astype(np.int16) - 1024)
    img = read('a.dcm', ct(pixels, RescaleSlope=0.5, RescaleIntercept=2))
    assert img.dtype == np.float32 and np.allclose(img, expected * 0.5 + 2)


@pytest.mark.parametrize('slope, intercept', [(2, -1024), (-1, 5), (0.5, 2), (16, 0), (1, 0.5)])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'int16'])
def test_dicom__rescaled_in_little_memory(monkeypatch, dtype, slope, intercept):
    """The result may be as large as an image may be; what it is made of is as small."""
    ends = np.iinfo(dtype)
    pixels = (
        np.random.default_rng(0).integers(ends.min // 4, ends.max // 4, (300, 400)).astype(dtype)
    )
    content = ct(pixels, RescaleSlope=slope, RescaleIntercept=intercept)
    expected = pixels * np.float64(slope) + intercept
    img = LoadMultiBandImage().read('a.dcm', content)
    assert np.array_equal(img[..., 0], expected.astype(img.dtype))
    fits = float(slope).is_integer() and float(intercept).is_integer()
    fits = fits and -(2**15) <= expected.min() and expected.max() < 2**15
    assert img.dtype == (np.int16 if fits else np.float32)
    monkeypatch.setenv('BEIT_MM_MAX_IMAGE_GIB', str(3 * pixels.size / 2**30))
    with pytest.raises(UserError, match='GiB'):  # 8 bits become 32
        LoadMultiBandImage().read('a.dcm', content)


def test_dicom__broken_and_too_large(monkeypatch):
    content = ct(np.zeros((8, 6), np.uint16))
    for broken in (b'', content[:-30], b'no image', ct(np.zeros((8, 6), np.uint16), Rows=9999)):
        with pytest.raises(UserError, match=r'a\.dcm'):
            LoadMultiBandImage().read('a.dcm', broken)
    monkeypatch.setenv('BEIT_MM_MAX_IMAGE_GIB', str(90 / 2**30))
    with pytest.raises(UserError, match='BEIT_MM_MAX_IMAGE_GIB'):
        LoadMultiBandImage().read('a.dcm', content)


def test_dicom__without_pydicom(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydicom', None)
    with pytest.raises(MissingPackageError, match='pip install pydicom'):
        LoadMultiBandImage().read('a.dcm', bytes(200))


def test_heic(tmp_path):
    pytest.importorskip('pillow_heif')
    Image.new('RGB', (64, 48), (200, 30, 60)).save(tmp_path / 'a.heic', quality=95)
    img = load(tmp_path / 'a.heic', channels=3)
    assert img.shape == (48, 64, 3) and np.abs(img[20, 20].astype(int) - (200, 30, 60)).max() < 9


def test_heic__without_the_package(tmp_path):
    (tmp_path / 'a.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(40))
    with pytest.raises(UserError, match=r'a\.heic'):
        load(tmp_path / 'a.heic')


def test_tiff__compressed_with_imagecodecs(tmp_path):
    pytest.importorskip('imagecodecs')
    img = random((32, 48, 4), 'uint16')
    for compression in ('lzw', 'zstd'):
        path = tmp_path / f'{compression}.tif'
        options = dict(photometric='minisblack', planarconfig='contig')
        tifffile.imwrite(path, img, compression=compression, **options)
        assert np.array_equal(load(path), img)


def test_dicom__white_is_the_highest_value():
    """MONOCHROME1 is inverted over the stored bits, unless its values have a unit."""
    pixels = random((8, 6), 'uint16') >> 4
    own = dict(PhotometricInterpretation='MONOCHROME1', BitsStored=12, HighBit=11)
    read = LoadMultiBandImage().read
    assert np.array_equal(read('a.dcm', ct(pixels, **own))[..., 0], 4095 - pixels)
    signed = pixels.astype(np.int16) - 2048
    assert np.array_equal(read('a.dcm', ct(signed, **own))[..., 0], -1 - signed)
    img = read('a.dcm', ct(pixels, **own, RescaleSlope=2, RescaleIntercept=-1))
    assert np.array_equal(img[..., 0], 2 * pixels.astype(int) - 1)


@pytest.mark.parametrize('dtype, factor', [('uint8', 1), ('uint16', 257)])
@pytest.mark.parametrize('shape', [(8, 6), (5, 8, 6)])
def test_dicom__palette_is_colors(shape, dtype, factor):
    colors, numbers = random((256, 3), 'uint8'), random(shape, 'uint8')
    bits = 8 * np.dtype(dtype).itemsize
    own = dict(PhotometricInterpretation='PALETTE COLOR')
    for name, table in zip(('Red', 'Green', 'Blue'), colors.T, strict=True):
        own[f'{name}PaletteColorLookupTableDescriptor'] = [256, 0, bits]
        own[f'{name}PaletteColorLookupTableData'] = (table.astype(dtype) * factor).tobytes()
    img = LoadMultiBandImage().read('a.dcm', ct(numbers, **own))
    frames = colors[numbers.reshape(-1, 8, 6)]
    assert np.array_equal(img, frames.transpose(1, 2, 0, 3).reshape(8, 6, -1))


@pytest.mark.parametrize('more', [{}, dict(RescaleSlope=1, RescaleIntercept=-1024)])
def test_dicom__padding_has_no_data(tmp_path, more):
    pixels = np.random.default_rng(0).integers(0, 2000, (8, 6)).astype(np.int16)
    pixels[0], pixels[1] = -2000, -1998
    low = more.get('RescaleIntercept', 0)
    for limits, rows in ((dict(), 1), (dict(PixelPaddingRangeLimit=-1998), 2)):
        content = ct(pixels, PixelPaddingValue=-2000, **limits, **more)
        (tmp_path / 'a.dcm').write_bytes(content)
        img = load(tmp_path / 'a.dcm', fill=-3)[..., 0]
        assert (img[:rows] == -3).all() and np.array_equal(img[rows:], pixels[rows:] + low)
        img = load(tmp_path / 'a.dcm', window=(-500, 900))[..., 0]
        assert (img[:rows] == 0).all() and img[rows:].max() > 0


def test_dicom__deflated_files(monkeypatch):
    """As many bytes as fit are unpacked, wherever the file says that it is compressed."""
    pydicom = pytest.importorskip('pydicom')
    pixels = random((64, 64), 'uint16')
    data = pydicom.dcmread(io.BytesIO(ct(pixels)))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    for private, side in ((b'', 64), (bytes(4000), 64), (bytes(4000), 2000)):
        data.file_meta.PrivateInformationCreatorUID = '1.2'
        data.file_meta.PrivateInformation = private
        data.Rows = data.Columns = side
        data.PixelData = np.resize(pixels, (side, side)).tobytes() if side == 64 else bytes(2**23)
        file = io.BytesIO()
        data.save_as(file, enforce_file_format=True)
        monkeypatch.setenv('BEIT_MM_MAX_IMAGE_GIB', str(2**-8))  # 4 MiB
        read = LoadMultiBandImage().read
        if side == 64:
            assert np.array_equal(read('a.dcm', file.getvalue())[..., 0], pixels)
        else:
            assert len(file.getvalue()) < 20_000
            monkeypatch.setattr(pydicom, 'dcmread', lambda _: pytest.fail('unpacked'))
            with pytest.raises(UserError, match='BEIT_MM_MAX_IMAGE_GIB'):
                read('a.dcm', file.getvalue())


def encapsulated(content, syntax, frame):
    """A DICOM file with ``frame`` in the place of its pixels."""
    import pydicom

    data = pydicom.dcmread(io.BytesIO(content))
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    data.PixelData = pydicom.encaps.encapsulate([frame])
    data['PixelData'].VR = 'OB'
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def encoded(kind, side=640, **options):
    file = io.BytesIO()
    Image.new('L', (side, side)).save(file, kind, **options)
    return file.getvalue()


FRAMES = {
    'JPEGBaseline8Bit': encoded('JPEG'),
    'JPEGLosslessSV1': encoded('JPEG').replace(b'\xff\xc0', b'\xff\xc3'),
    'JPEGLSLossless': encoded('JPEG').replace(b'\xff\xc0', b'\xff\xf7'),
    'JPEG2000Lossless': encoded('JPEG2000', no_jp2=True),
    'HTJ2KLossless': encoded('JPEG2000', no_jp2=True),
    'RLELossless': bytes(30_000),
}


@pytest.mark.parametrize('syntax', FRAMES)
def test_dicom__frames_larger_than_the_file_says(monkeypatch, syntax):
    pydicom = pytest.importorskip('pydicom')
    content = encapsulated(ct(np.zeros((8, 6), np.uint8)), syntax, FRAMES[syntax])
    monkeypatch.setenv('BEIT_MM_MAX_IMAGE_GIB', str(2**-10))
    monkeypatch.setattr(
        pydicom.Dataset, 'pixel_array', property(lambda self: pytest.fail('decoded'))
    )
    with pytest.raises(UserError, match='BEIT_MM_MAX_IMAGE_GIB'):
        LoadMultiBandImage().read('a.dcm', content)
    content = encapsulated(ct(np.zeros((8, 6), np.uint8)), 'JPEG2000Lossless', b'\0\0\0\x0cJXL ')
    with pytest.raises(UserError, match='cannot be counted'):
        LoadMultiBandImage().read('a.dcm', content)


def test_dicom__compressed(monkeypatch):
    pytest.importorskip('pydicom')
    img = LoadMultiBandImage().read(
        'a.dcm',
        encapsulated(ct(np.ones((64, 64), np.uint8)), 'JPEGBaseline8Bit', encoded('JPEG', 64)),
    )
    assert img.shape == (64, 64, 1) and not img.any()


@pytest.mark.parametrize('ending', ['pcx', 'tga', 'gif', 'png', 'bmp', 'tif'])
def test_palette__is_colors_in_images_and_ids_in_masks(tmp_path, ending):
    colors, ids = random((256, 3)), random((8, 6)) // 32
    image = Image.fromarray(ids, 'P')
    image.putpalette(colors.ravel().tolist())
    path = tmp_path / f'a.{ending}'
    image.save(path)
    assert np.array_equal(load(path)[..., :3], colors[ids])
    mask = LoadSegmentationMask().transform(dict(seg_map_path=str(path)))['gt_seg_map']
    assert np.array_equal(mask, ids)
