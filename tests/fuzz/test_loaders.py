"""Damaged files, any bytes: an image or mask comes out, or an error that names the file."""

import io

import cv2
import numpy as np
import pytest
import tifffile
from corpus import image_corpus
from fuzzing import mutated, prop, seeds
from hypothesis import strategies as st
from mmengine.dataset import Compose
from PIL import Image

from beit_mm.datasets import UnlabelledImageFolder
from beit_mm.datasets.transforms import LoadMultiBandImage, LoadSegmentationMask
from beit_mm.datasets.transforms.load_segmentation_mask import read_mask
from beit_mm.datasets.unlabelled_image_folder import BadImageError
from beit_mm.preflight.files.image_file import Loader, check_image, read_file

pytestmark = pytest.mark.filterwarnings('ignore')
FILES = {
    entry.name: entry.make for entry in image_corpus('unused') if isinstance(entry.make, bytes)
}


def small(content: bytes) -> bool:
    """What is declared is no more than a test can take: sizes are what mutations change."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.width * image.height < 10**7
    except Exception:
        return True


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('files')


@pytest.fixture(scope='module')
def load_image(folder):
    """A file name -> the image that a training on LoadImageFromFile sees."""
    pipeline = [dict(type='LoadImageFromFile')]
    data = UnlabelledImageFolder('unused', pipeline, lazy_init=True)
    data._fully_initialized = True
    data.pipeline = Compose(data.pipeline.transforms)

    def load(path):
        data.get_data_info = lambda index: dict(img_path=str(path), sample_idx=0)
        return data[0]['img']

    return load


@prop(few=40, file=mutated(FILES))
def test_load_image_from_file(folder, load_image, file):
    name, content = file
    path = folder / name
    path.write_bytes(content)
    if not small(content):
        return
    try:
        image = load_image(path)
    except BadImageError as error:
        assert name in str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.size


@prop(few=40, file=mutated(FILES))
def test_load_multi_band_image(folder, file):
    name, content = file
    path = folder / name
    path.write_bytes(content)
    if not small(content):
        return
    try:
        image = LoadMultiBandImage().transform(dict(img_path=str(path)))['img']
    except ValueError as error:
        assert name in str(error)
    else:
        assert image.ndim == 3 and image.size and np.isfinite(image).all()


@prop(few=50, file=mutated(FILES))
def test_read_mask(file):
    name, content = file
    if not small(content):
        return
    try:
        mask = read_mask(name, content)
    except ValueError as error:
        assert name in str(error)
    else:
        assert mask.ndim == 2 and mask.dtype in (np.uint8, np.uint16)


@prop(few=50, file=mutated(FILES), bands=st.booleans())
def test_check_image(folder, file, bands):
    """The check of a data set finds no file too broken to be checked."""
    name, content = file
    path = folder / name
    path.write_bytes(content)
    content, finding = read_file(str(path))
    if content is None:
        assert finding.kind == 'empty-file'
        return
    if not small(content):
        return
    loader = Loader(bands=LoadMultiBandImage() if bands else None)
    found, facts = check_image(str(path), content, loader)
    assert facts is not None or any(f.level == 'error' for f in found)
    assert all(f.place == str(path) and f.message for f in found)


@st.composite
def arrays(draw, dtypes):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 6)))
    numbers = np.random.default_rng(draw(seeds))
    if dtype.kind == 'f':
        return numbers.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return numbers.integers(limits.min, limits.max, shape, dtype, endpoint=True)


ANY = ('uint8', 'uint16', 'int16', 'float16', 'float32', 'float64')


def read(folder, name, write):
    path = folder / name
    write(str(path))
    return LoadMultiBandImage().transform(dict(img_path=str(path)))['img']


@prop(few=40, array=arrays(ANY))
def test_npy__the_same_values(folder, array):
    got = read(folder, 'round.npy', lambda path: np.save(path, array))
    assert np.array_equal(got, array) and got.dtype == array.dtype


@prop(few=40, array=arrays(ANY), planes=st.booleans(), packed=st.booleans())
def test_tiff__the_same_values(folder, array, planes, packed):
    """Bands as planes or as samples of a pixel, however small the image."""
    source = np.moveaxis(array, 2, 0) if planes else array
    options = dict(planarconfig='separate' if planes else 'contig') if array.shape[2] > 1 else {}
    if array.shape[2] == 1:
        source = array[..., 0]
    packing = dict(compression='zlib') if packed else {}

    def write(path):
        tifffile.imwrite(path, source, photometric='minisblack', **options, **packing)

    got = read(folder, 'round.tif', write)
    assert np.array_equal(got, array) and got.dtype == array.dtype


@prop(few=40, array=arrays(['uint8', 'uint16']))
def test_png__the_same_values(folder, array):
    array = array[..., : {2: 1, 5: 4, 6: 3}.get(array.shape[2], array.shape[2])]
    bgr = array[..., [2, 1, 0, 3][: array.shape[2]]] if array.shape[2] > 1 else array
    got = read(folder, 'round.png', lambda path: cv2.imwrite(path, bgr))
    assert np.array_equal(got, array) and got.dtype == array.dtype


@prop(few=40, array=arrays(['uint8', 'uint16']), suffix=st.sampled_from(['png', 'npy', 'tif']))
def test_masks__the_ids_of_the_file(folder, array, suffix):
    ids = array[..., 0]
    path = folder / f'mask.{suffix}'
    if suffix == 'npy':
        np.save(path, ids)
    else:
        Image.fromarray(ids).save(path)
    results = dict(seg_map_path=str(path), seg_fields=[], reduce_zero_label=False)
    got = LoadSegmentationMask().transform(results)['gt_seg_map']
    assert np.array_equal(got, ids) and got.shape == ids.shape
