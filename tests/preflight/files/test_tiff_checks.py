"""What the check says of TIFFs is what LoadImageFromFile and LoadMultiBandImage make of them."""

import mmcv
import numpy as np
import pytest
import tifffile

from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.preflight.files import Loader, MaskRules, Sample, check_sample

TYPES = ('uint8', 'uint16', 'int8', 'int16', 'int32', 'uint32', 'float16', 'float32', 'float64')


def write(path, bands, dtype):
    pixels = (np.random.default_rng(0).random((12, 16, bands)) * 100).astype(dtype)
    options = dict(photometric='rgb' if bands == 3 else 'minisblack')
    options |= dict(planarconfig='contig') if bands > 1 else {}
    tifffile.imwrite(path, pixels if bands > 1 else pixels[..., 0], **options)
    return pixels


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('bands', [1, 3, 4, 5, 13])
def test_tiffs__called_what_they_are(tmp_path, bands, dtype):
    path = tmp_path / 'a.tif'
    pixels = write(path, bands, dtype)
    found, _ = check_sample(Sample(str(path)), Loader(), MaskRules())
    try:
        loaded = mmcv.imfrombytes(path.read_bytes())
    except Exception:
        loaded = None
    kinds = {f'{finding.level}:{finding.kind}' for finding in found}
    if dtype == 'uint8' and bands in (1, 3):
        assert not found and np.array_equal(
            loaded[..., ::-1], np.broadcast_to(pixels, loaded.shape)
        )
    elif dtype == 'uint8' and bands == 4:
        assert kinds == {'warning:multi-band'} and loaded.shape == (12, 16, 3)
    else:
        assert kinds <= {'error:multi-band', 'error:sixteen-bit', 'error:undecodable'}
        assert len(kinds) == 1 and (dtype in next(iter(found)).message or bands <= 3)
        assert (loaded is None) or bands < 5
    assert not any('remove' in finding.message for finding in found)
    keeps = dtype in ('uint8', 'uint16', 'int16', 'float16', 'float32', 'float64')
    found, _ = check_sample(Sample(str(path)), Loader(LoadMultiBandImage()), MaskRules())
    assert not found if keeps else [finding.kind for finding in found] == ['undecodable']
    if keeps:
        assert np.array_equal(LoadMultiBandImage().read('a.tif', path.read_bytes()), pixels)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('bands', [3, 13])
def test_tiffs__broken_ones_are_still_broken(tmp_path, bands, backend):
    write(tmp_path / 'a.tif', bands, 'uint8')
    content = (tmp_path / 'a.tif').read_bytes()
    for broken in (content[:300], content[:8] + b'\xff' * 200, b'II*\0' + bytes(50)):
        (tmp_path / 'a.tif').write_bytes(broken)
        found, _ = check_sample(Sample(str(tmp_path / 'a.tif')), Loader(None, backend), MaskRules())
        assert {finding.kind for finding in found} <= {'undecodable', 'truncated'} and found


def test_annotation_list__of_other_encodings_is_explained(tmp_path):
    from mmengine.config import Config

    from beit_mm.preflight.files import read_splits

    pytest.importorskip('mmpretrain')
    (tmp_path / 'list.txt').write_text('a.png cat\n', encoding='utf-16')
    dataset = dict(
        type='mmpretrain.CustomDataset',
        data_root=str(tmp_path),
        ann_file='list.txt',
        pipeline=[],
    )
    (split,) = read_splits(Config(dict(train_dataloader=dict(dataset=dataset))), 'train')
    assert [finding.kind for finding in split.broken] == ['annotations']
    assert "line 1 is 'a.png cat'" in split.broken[0].message
    assert 'metainfo.classes' in split.broken[0].message
