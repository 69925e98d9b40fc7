"""Images that fill a small part of the tokenizer's range are told, in the place of the scale."""

import pytest
import torch
from mmengine.model import ImgDataPreprocessor

from beit_mm.models import DVAETokenizer, TwoViewDataPreprocessor
from beit_mm.preflight.run.filled import describe_filled, filled, find_limits


@pytest.mark.parametrize(
    'settings, key, scaled',
    [
        (dict(mean=[100.0], std=[50.0], token_scale=65535.0), 'token_inputs', 'token_scale'),
        (dict(mean=[0.0], std=[65535.0]), 'inputs', 'std'),
    ],
)
def test_range__that_is_not_0_to_1(settings, key, scaled):
    preprocessor = TwoViewDataPreprocessor(**settings)
    for low, high, told in (
        (0, 4095, 'end at 0.062 '),
        (0, 11517, 'end at 0.18 '),
        (-1024, 60000, None),
        (-20000, 60000, 'begin at -0.31 '),
        (-30000, 0, 'window'),
        (0, 80000, 'end at 1.2 '),
        (0, 60000, None),
    ):
        images = torch.zeros(2, 1, 3, 3)
        images[1, 0, 2, 1], images[0, 0, 0, 0] = high, low
        span = filled(preprocessor, {'inputs': images, key: images})
        assert span == pytest.approx((low / 65535, high / 65535))
        found = describe_filled(*span, preprocessor, 20)
        assert (found is not None) == bool(told)
        if told:
            assert found.place == f'data_preprocessor.{scaled}' and told in found.message
            assert 'band_statistics' in found.message


def test_range__of_what_is_not_scaled_to_it():
    """A classifier's images have a mean; other libraries' preprocessors say nothing."""
    batch = dict(inputs=torch.zeros(1, 1, 2, 2))
    assert filled(TwoViewDataPreprocessor(mean=[100.0], std=[50.0]), batch) is None
    assert filled(torch.nn.Identity(), batch) is None
    assert filled(TwoViewDataPreprocessor(mean=[0.0], std=[1.0]), [batch]) is None


@pytest.mark.parametrize(
    'preprocessor, limits',
    [
        (
            TwoViewDataPreprocessor([100.0, 50.0], [10.0, 1.0], token_scale=4095.0),
            dict(img=(-900.0, 1100.0), token_img=(-4095.0, 8190.0)),
        ),
        (
            TwoViewDataPreprocessor([0.0], [1.0], token_scale=255.0),  # normalized in the files
            dict(img=(-100.0, 100.0), token_img=(-255.0, 510.0)),
        ),
        (ImgDataPreprocessor([10.0], [1.0]), dict(img=(-90.0, 110.0))),
        (ImgDataPreprocessor(), {}),
        (torch.nn.Identity(), {}),
        (None, {}),
    ],
)
def test_limits__of_values(preprocessor, limits):
    model = torch.nn.Module()
    model.data_preprocessor = preprocessor
    assert find_limits(model) == limits
    assert find_limits(None) == {}


def test_limits__of_a_tokenizer_in_training():
    model = DVAETokenizer(vocab_size=8, width=8, num_blocks=1, code_dim=4)
    model.data_preprocessor = TwoViewDataPreprocessor([0.0], [4095.0], token_scale=255.0)
    assert find_limits(model) == dict(img=(-4095.0, 8190.0), token_img=(-255.0, 510.0))
