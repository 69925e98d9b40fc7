import cv2
import numpy as np
import pytest
from mmcv import transforms
from mmengine.registry import DefaultScope
from PIL import Image

from beit_mm.datasets import BadImageError, UnlabelledImageFolder, image_files
from beit_mm.datasets.transforms import LoadImageFromFile
from beit_mm.registry import TRANSFORMS


def write(folder):
    """Write an image of each kind that OpenCV and Pillow read, and return their paths."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 4), dtype=np.uint8)
    picture, exif = Image.fromarray(pixels[..., :3]), Image.Exif()
    exif[0x0112] = 6  # turned
    picture.save(folder / 'a.jpg')
    picture.save(folder / 'turned.jpg', exif=exif, progressive=True)
    picture.convert('CMYK').save(folder / 'cmyk.jpg')
    picture.convert('L').save(folder / 'gray.jpg')
    picture.convert('P').save(folder / 'palette.png')
    picture.save(folder / 'turned.png', exif=exif)
    Image.fromarray(pixels).save(folder / 'alpha.png')
    Image.fromarray(pixels[..., 0]).save(folder / 'gray.png')
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / 'gray16.png')
    cv2.imwrite(str(folder / 'rgb16.png'), pixels[..., :3].astype(np.uint16) * 250)
    for ending in ('bmp', 'webp', 'tif', 'gif', 'ppm'):
        picture.save(folder / f'a.{ending}')
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    'arguments',
    [
        dict(),
        dict(to_float32=True),
        dict(color_type='unchanged'),
        dict(color_type='grayscale'),
        dict(imdecode_backend='pillow'),
        dict(ignore_empty=True),
        dict(backend_args=dict(backend='local')),
    ],
)
def test_results__are_mmcvs(tmp_path, arguments):
    for path in write(tmp_path):
        info = dict(img_path=str(path), sample_idx=3)
        expected = transforms.LoadImageFromFile(**arguments)(dict(info))
        results = LoadImageFromFile(**arguments)(dict(info))
        assert results.keys() == expected.keys()
        assert results['img'].dtype == expected['img'].dtype
        assert all(np.array_equal(results[key], expected[key]) for key in results)


def test_config__builds_it_and_reads_a_file_once(tmp_path, monkeypatch):
    write(tmp_path)
    opened = []

    def count(path, *args, **kwargs):
        opened.append(path)
        return open(path, *args, **kwargs)

    monkeypatch.setattr(image_files, 'open', count, raising=False)
    with DefaultScope.overwrite_default_scope('beit_mm'):
        step = dict(type='LoadImageFromFile')
        assert type(TRANSFORMS.build(step)) is LoadImageFromFile
        data = UnlabelledImageFolder(str(tmp_path), pipeline=[step])
    assert opened == [] and len([*data]) == len(opened) == 15


def test_broken_or_missing__as_mmcvs(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    for name, error in (('a.jpg', AssertionError), ('b.jpg', FileNotFoundError)):
        info = dict(img_path=str(tmp_path / name))
        with pytest.raises(error, match=name):
            LoadImageFromFile()(dict(info))
    assert LoadImageFromFile(ignore_empty=True)(dict(info)) is None


def test_too_large__is_named_once(tmp_path, monkeypatch):
    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    data = UnlabelledImageFolder(str(tmp_path), pipeline=[LoadImageFromFile()])
    assert data[0]['img'].shape == (64, 64, 3)
    monkeypatch.setenv(image_files.MAX_GIB, str(10_000 / 2**30))
    with pytest.raises(BadImageError, match=r'a\.png.*takes 0\.0 GiB decoded'):
        data[0]
