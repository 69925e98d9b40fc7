"""Every entry of the corpus through the loaders, the check of data sets, and a training set."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from corpus import image_corpus, photo, saved
from fuzzing import tried
from mmengine.config import Config
from PIL import Image

from beit_mm.cli.check_dataset import check_config_data
from beit_mm.datasets import SkipBadSamples, UnlabelledImageFolder
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.datasets.unlabelled_image_folder import BadImageError

EIGHT_BIT = [dict(type='LoadImageFromFile')]
BANDS = [dict(type='beit_mm.LoadMultiBandImage')]
MARKER = Path(tempfile.gettempdir()) / f'payload-ran-{os.getpid()}'
CORPUS = {entry.name: entry for entry in image_corpus(MARKER)}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings('ignore')]


@pytest.fixture
def entry(request, tmp_path):
    """The entry, its path in a folder of its own, and that no payload has run."""
    (tmp_path / 'data').mkdir()
    found = CORPUS[request.param]
    if found.name == 'unreadable.jpg' and os.geteuid() == 0:
        pytest.skip('root reads everything')
    tried[f'image corpus: {request.node.name.split("[")[0]}'] += 1
    yield found, found.write(tmp_path / 'data')
    assert not MARKER.exists()


each = pytest.mark.parametrize('entry', CORPUS, indirect=True)


def folder(path, pipeline, **kwargs):
    """A data set of just this file, which a walk over the folder may have left out."""
    data = UnlabelledImageFolder(str(path.parent), pipeline, lazy_init=True, **kwargs)
    data.load_data_list = lambda: [dict(img_path=str(path))]
    data.full_init()
    return data


@each
def test_load_image_from_file(entry):
    expected, path = entry
    data = folder(path, EIGHT_BIT)
    if expected.eight_bit:
        image = data[0]['img']
        assert image.dtype == np.uint8 and image.shape == (*expected.size, 3)
    else:
        with pytest.raises(BadImageError) as error:
            data[0]
        assert path.name in str(error.value)


@each
def test_load_multi_band_image(entry):
    expected, path = entry
    load = LoadMultiBandImage()
    if expected.bands:
        image = load.transform(dict(img_path=str(path)))['img']
        size = expected.size[::-1] if expected.name.startswith('exif') else expected.size
        assert image.ndim == 3 and image.shape[:2] == size and np.isfinite(image).all()
    else:
        with pytest.raises((ValueError, OSError)) as error:
            load.transform(dict(img_path=str(path)))
        assert path.name in str(error.value)


@each
def test_check_dataset(entry, tmp_path):
    """The same files that a training would meet are named, and nothing stops the check."""
    expected, path = entry
    listed = path.is_file() and path.suffix != '.npy'
    config = Config(
        dict(
            train_dataloader=dict(
                batch_size=1,
                dataset=dict(
                    type='beit_mm.UnlabelledImageFolder',
                    data_root=str(path.parent),
                    pipeline=EIGHT_BIT,
                ),
            )
        )
    )
    found, _ = check_config_data(config, ('train',))
    kinds = {finding.kind for finding in found if path.name in finding.place}
    if listed:
        assert kinds == ({expected.found} if expected.found else set())
        if not expected.eight_bit:  # what stops a training is an error of the check
            assert any(finding.level == 'error' for finding in found)
    else:
        assert found  # a data set without images


@each
@pytest.mark.parametrize('pipeline', [EIGHT_BIT, BANDS], ids=['eight_bit', 'bands'])
def test_skip_bad_samples(entry, pipeline, tmp_path):
    """In a training, another sample takes the place of one that can't be loaded."""
    expected, path = entry
    good = tmp_path / 'good.png'
    good.write_bytes(saved(Image.fromarray(photo()), 'PNG'))
    data = UnlabelledImageFolder(str(tmp_path), pipeline, lazy_init=True)
    data.load_data_list = lambda: [dict(img_path=str(path)), dict(img_path=str(good))]
    data = SkipBadSamples(data, max_count=1, max_share=None)
    loads = expected.eight_bit if pipeline is EIGHT_BIT else expected.bands
    assert data[0]['img_path'] == str(path if loads else good)
    assert data.bad_samples() == (set() if loads else {0})
