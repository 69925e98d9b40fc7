"""Two normalizations are the same, or by how much they are not."""

import pytest

from beit_mm.checkpoints.description import differences, images_of
from beit_mm.checkpoints.description.images import white_of

LOADER = [dict(type='LoadImageFromFile')]


def images(mean, std, pipeline=LOADER, **settings):
    return images_of(dict(mean=mean, std=std, **settings), pipeline)


def keys(theirs, ours):
    found, here = dict(images=theirs), dict(images=ours)
    return [difference.place for difference in differences(found, here, 'a.pth')]


@pytest.mark.parametrize(
    ('theirs', 'ours', 'same'),
    [
        (images([127.5], [63.75]), images((127.5,) * 3, (63.75,) * 3), True),
        (images([123.675], [58.395]), images([123.68], [58.4]), True),  # rounded
        (images([127.5], [63.75]), images([32767.5], [16383.75]), True),  # 16 bits
        (images(0, 255), images([0.0], [65535.0]), True),
        (images([127.5], [63.75]), images([127.5], [65.0]), False),
        (images([127.5], [63.75]), images([129.0], [63.75]), False),
        (images([127.5], [63.75]), images([0.5], [0.25]), False),
        (images([1.0, 2.0, 3.0], [9.0]), images([3.0, 2.0, 1.0], [9.0]), False),
        (images([1.0] * 4, [9.0] * 4), images([5.0] * 3, [9.0] * 3), True),  # not comparable
        (images([127.5], [63.75]), None, True),
    ],
)
def test_normalization(theirs, ours, same):
    assert keys(theirs, ours) == keys(ours, theirs) == ([] if same else ['data_preprocessor.mean'])


def test_order_of_the_channels__of_loader_and_preprocessor_together():
    own = [dict(type='beit_mm.LoadMultiBandImage', channels=3)]
    normalize = [*LOADER, dict(type='Normalize', mean=[1.0], std=[2.0], to_rgb=True)]
    rgb = [
        images([1.0], [2.0], bgr_to_rgb=True),
        images([1.0], [2.0], to_rgb=True),
        images([1.0], [2.0], own),
        images(None, None, normalize),
    ]
    bgr = [
        images([1.0], [2.0]),
        images([1.0], [2.0], own, rgb_to_bgr=True),
        images(None, None, normalize, bgr_to_rgb=True),
    ]
    assert {i['channel_order'] for i in rgb} == {'RGB'}
    assert {i['channel_order'] for i in bgr} == {'BGR'}
    assert all(keys(a, b) == [] for a in rgb for b in rgb)
    assert all(keys(a, b) == ['data_preprocessor.bgr_to_rgb'] for a in rgb for b in bgr)
    unknown = images([1.0], [2.0], [dict(type='MyLoader')])
    assert unknown['channel_order'] == 'as loaded' and keys(rgb[0], unknown) == []


def test_range__what_black_and_white_become():
    assert images([127.5], [63.75])['range'] == [-2.0, 2.0]
    own = [dict(type='LoadMultiBandImage', channels=3)]
    assert images([32767.5], [16383.75], own)['range'] == [-2.0, 2.0]
    assert images([0.5], [0.25], own)['range'] == [-2.0, 2.0]
    assert images([0.0], [255.0])['range'] == [0.0, 1.0]
    assert images(None, None)['range'] == [0.0, 255.0]
    tokens = images_of(dict(mean=[9.0], std=[9.0], token_scale=65535.0), own, tokens=True)
    assert tokens['range'] == [0.0, 1.0] and tokens['std'] == [65535.0]
    loader = dict(type='LoadMultiBandImage', window=[-1000, 400])
    of_window = dict(mean=[700.0], std=[350.0], token_scale=1400.0)
    assert images_of(of_window, [loader])['range'] == [-2.0, 2.0]
    assert images_of(of_window, [loader], tokens=True)['range'] == [0.0, 1.0]


def test_white__of_a_window_is_its_width():
    pipeline = [dict(type='beit_mm.LoadMultiBandImage', window=(-1000.0, 2000.0))]
    assert white_of(dict(mean=[1481.0], std=[754.0]), pipeline) == 3000.0
    assert white_of(dict(mean=[1481.0], std=[754.0]), []) == 65535.0
    steps = [dict(type='LoadMultiBandImage'), dict(type='Normalize', mean=[4951.0], std=[9.0])]
    assert white_of(dict(mean=None, std=None), steps) == 65535.0  # as mmseg's pipelines have it


@pytest.mark.parametrize('changed', [False, True])
def test_options__are_the_same_with_scopes_and_defaults_written_out(changed):
    short = dict(type='PatchPixels', patch_size=8, init_cfg=dict(checkpoint='a.pth'))
    full = dict(type='beit_mm.PatchPixels', in_channels=3, patch_size=8, normalize=changed)
    found, here = (
        dict(backbone={}, tokenizer=dict(type='KMeansTokenizer', options=dict(features=part)))
        for part in (short, full)
    )
    places = [difference.place for difference in differences(found, here, 'a.pth')]
    assert places == ['model.tokenizer.features'] * changed
