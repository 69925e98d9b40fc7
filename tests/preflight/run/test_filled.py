"""Images that fill a small part of the tokenizer's range are told, in the place of the scale."""

import pytest
import torch

from beit_mm.models import TwoViewDataPreprocessor
from beit_mm.preflight.run import describe_filled, filled


@pytest.mark.parametrize(
    'settings, key, scaled',
    [
        (dict(mean=[100.0], std=[50.0], token_scale=65535.0), 'token_inputs', 'token_scale'),
        (dict(mean=[0.0], std=[65535.0]), 'inputs', 'std'),
    ],
)
def test_range__that_ends_far_below_1(settings, key, scaled):
    preprocessor = TwoViewDataPreprocessor(**settings)
    images = torch.zeros(2, 1, 3, 3)
    for value, told in ((4095.0, True), (60000.0, False), (11517.0, True)):
        images[1, 0, 2, 1] = value
        largest = filled(preprocessor, {'inputs': images, key: images})
        assert largest == pytest.approx(value / 65535)
        found = describe_filled(largest, preprocessor, 20)
        assert (found is not None) == told
        if told:
            assert (
                found.place == f'data_preprocessor.{scaled}' and 'band_statistics' in found.message
            )


def test_range__of_what_is_not_scaled_to_it():
    """A classifier's images have a mean; other libraries' preprocessors say nothing."""
    batch = dict(inputs=torch.zeros(1, 1, 2, 2))
    assert filled(TwoViewDataPreprocessor(mean=[100.0], std=[50.0]), batch) is None
    assert filled(torch.nn.Identity(), batch) is None
    assert filled(TwoViewDataPreprocessor(mean=[0.0], std=[1.0]), [batch]) is None
