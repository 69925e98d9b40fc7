import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from beit_mm.contracts import UserError
from beit_mm.datasets.image_files import read_jpeg_head
from beit_mm.datasets.transforms import LoadReducedImage, TwoViewResizedCrop


def smooth(height, width):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def save(path, height=600, width=800, **options):
    smooth(height, width).save(path, quality=95, **options)
    return str(path)


@pytest.mark.parametrize(
    ('height', 'width', 'size', 'reduction'),
    [
        (800, 800, 100, 4),  # whole image: 800 / 4 = 2 * 100
        (799, 900, 100, 2),
        (1600, 1600, 100, 8),
        (9000, 9000, 100, 8),
        (399, 4000, 100, 1),
    ],
)
def test_reduction__keeps_twice_the_view(height, width, size, reduction):
    load = LoadReducedImage(size, min_scale=1.0, min_ratio=1.0, oversampling=2)
    assert load.find_reduction(height, width) == reduction


def test_reduction__is_for_the_smallest_crop():
    # The shortest side of a crop has 849 pixels.
    assert LoadReducedImage(224, oversampling=849 / 448).find_reduction(3000, 4000) == 1
    assert LoadReducedImage(224, oversampling=848 / 448).find_reduction(3000, 4000) == 2
    crop = TwoViewResizedCrop(224, scale=(0.08, 0.08))
    for _ in range(200):
        assert min(crop.sample_crop(3000, 4000)[2:]) >= 848


def test_views_of_a_reduced_image_are_those_of_the_whole(tmp_path):
    path = save(tmp_path / 'a.jpg')
    results = LoadReducedImage(64, min_scale=0.5, oversampling=2)(dict(img_path=path))
    assert results['img'].shape == (300, 400, 3) and results['ori_shape'] == (600, 800)
    assert results['img_shape'] == (300, 400)
    crop = TwoViewResizedCrop(64, scale=None, ratio=(1, 1))
    expected = crop(LoadImageFromFile()(dict(img_path=path)))['img'].astype(float)
    error = np.square(crop(results)['img'] - expected).mean()
    assert 10 * np.log10(255**2 / error) > 40


def test_turned_image_has_the_shape_that_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    path = save(tmp_path / 'a.jpg', exif=exif)
    results = LoadReducedImage(64, min_scale=0.5, oversampling=2)(dict(img_path=path))
    assert results['img'].shape == (400, 300, 3) and results['ori_shape'] == (800, 600)


@pytest.mark.parametrize('name', ['small.jpg', 'gray.png', '16bit.png'])
def test_other_files_are_loaded_as_ever(tmp_path, name):
    path = tmp_path / name
    if name == 'small.jpg':
        save(path, 100, 120)
    elif name == 'gray.png':
        smooth(600, 800).convert('L').save(path)
    else:
        Image.fromarray(np.arange(600 * 800, dtype=np.uint16).reshape(600, 800)).save(path)
    results = LoadReducedImage(64)(dict(img_path=str(path)))
    expected = LoadImageFromFile()(dict(img_path=str(path)))
    assert np.array_equal(results['img'], expected['img'])
    assert results['ori_shape'] == expected['ori_shape']


def test_broken_file_and_bad_arguments(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'\xff\xd8\xff\xe0' + bytes(50))
    with pytest.raises(UserError, match=r'a\.jpg does not say how many pixels'):
        LoadReducedImage(64)(dict(img_path=str(tmp_path / 'a.jpg')))
    with pytest.raises(UserError, match='LoadReducedImage: size=0'):
        LoadReducedImage(0)


@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(comment=b'x' * 5000)])
@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_size_of_a_jpeg(tmp_path, options, mode):
    smooth(30, 50).convert(mode).save(tmp_path / 'a.jpg', **options)
    content = (tmp_path / 'a.jpg').read_bytes()
    assert read_jpeg_head(content)[0] == (30, 50)
    # cut off before its frame header, it has no size, and no error
    frame = content.index(b'\x00\x1e\x00\x32')
    assert all(read_jpeg_head(content[:end])[0] is None for end in range(0, frame + 4, 7))
    assert read_jpeg_head(b'\x89PNG' + content)[0] is None
