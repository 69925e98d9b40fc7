import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from beit_mm.contracts import UserError
from beit_mm.models import TwoViewDataPreprocessor
from beit_mm.registry import MODELS


def batch_of(channels=3, dtype=torch.uint8, top=256) -> dict:
    return dict(
        inputs=torch.randint(top, (2, channels, 6, 4)).to(dtype),
        token_inputs=torch.randint(top, (2, channels, 3, 2)).to(dtype),
        mask=torch.rand(2, 3, 2) < 0.5,
    )


def close(tensor, array):
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('channels', [1, 3, 4, 7])
@pytest.mark.parametrize('for_each', [True, False])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_values__against_numpy(channels, for_each, dtype):
    number = channels if for_each else 1
    mean, std = np.arange(1, number + 1) * 10.0, np.arange(1, number + 1) * 3.0
    batch = batch_of(channels, dtype)
    out = TwoViewDataPreprocessor(mean.tolist(), std.tolist())(batch)
    shape = (1, number, 1, 1)
    close(out['inputs'], (batch['inputs'].numpy() - mean.reshape(shape)) / std.reshape(shape))
    close(out['token_inputs'], batch['token_inputs'].numpy() / 255)
    assert torch.equal(out['mask'], batch['mask']) and out['mask'].dtype == torch.bool
    assert out.keys() == batch.keys()


def test_numbers__are_one_value_for_all_channels():
    batch = batch_of(4)
    as_numbers = TwoViewDataPreprocessor(mean=100, std=50.0)(batch)
    as_lists = TwoViewDataPreprocessor(mean=[100.0], std=[50.0])(batch)
    assert torch.equal(as_numbers['inputs'], as_lists['inputs'])


def test_channel_flip__comes_before_mean_and_std():
    mean, std = np.array([1.0, 20.0, 300.0]), np.array([2.0, 3.0, 5.0])
    batch = batch_of()
    out = TwoViewDataPreprocessor(mean, std, bgr_to_rgb=True)(batch)
    rgb = batch['inputs'].numpy()[:, ::-1].transpose(0, 2, 3, 1)
    close(out['inputs'].permute(0, 2, 3, 1), (rgb - mean) / std)
    close(out['token_inputs'], batch['token_inputs'].numpy()[:, ::-1] / 255)


def test_channel_flip__leaves_gray_alone_and_refuses_four_channels():
    flipping = TwoViewDataPreprocessor([0.0], [255.0], bgr_to_rgb=True)
    gray = batch_of(1)
    close(flipping(gray)['inputs'], gray['inputs'].numpy() / 255)
    with pytest.raises(UserError, match='have 4 channels.* set bgr_to_rgb=False'):
        flipping(batch_of(4))


def test_token_scale__of_16_bit_images():
    batch = batch_of(2, torch.float32, top=65536)
    batch['token_inputs'][0, 0, 0, 0] = 65535
    out = TwoViewDataPreprocessor([0.0], [65535.0], token_scale=65535)(batch)
    close(out['token_inputs'], batch['token_inputs'].numpy() / 65535)
    assert out['token_inputs'].max() == 1
    with pytest.raises(UserError, match='token_scale=255, but .* 65535; .*65535 for 16-bit'):
        TwoViewDataPreprocessor([0.0], [65535.0])(batch)


def test_token_scale__leaves_room_for_overshooting_filters():
    batch = batch_of(3, torch.float32)
    batch['token_inputs'] += 60
    close(TwoViewDataPreprocessor(0, 1)(batch)['token_inputs'], batch['token_inputs'] / 255)


def test_views_do_not_share_their_normalization():
    batch = batch_of()
    ours, other = TwoViewDataPreprocessor(0, 1)(batch), TwoViewDataPreprocessor(99, 7)(batch)
    assert torch.equal(ours['token_inputs'], other['token_inputs'])
    assert not torch.equal(ours['inputs'], other['inputs'])


def test_batch__is_not_changed_and_may_have_one_view():
    batch = batch_of()
    before = {name: tensor.clone() for name, tensor in batch.items()}
    preprocessor = TwoViewDataPreprocessor(100, 50)
    preprocessor(batch)
    assert all(torch.equal(batch[name], before[name]) for name in before)
    one_view = preprocessor(dict(inputs=batch['inputs']))
    assert one_view.keys() == {'inputs'}


def test_state_dict__is_empty():
    """The numbers belong to the config; a checkpoint must not bring older ones back."""
    assert TwoViewDataPreprocessor([1.0], [2.0]).state_dict() == {}


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(mean=[0.0, 0.0]), 'mean has 2 values and std has 1; give one for each channel'),
        (dict(mean=[], std=[]), 'mean has 0 values'),
        (dict(std=[0.0]), r'std=\[0.0\] and token_scale=255.0 must be positive'),
        (dict(std=-1), r'std=\[-1\] and'),
        (dict(token_scale=0), 'token_scale=0 must be positive'),
    ],
)
def test_arguments__named_in_errors(wrong, message):
    settings = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0])
    with pytest.raises(UserError, match=f'data_preprocessor.*{message}'):
        MODELS.build(dict(settings, **wrong))


def test_batches_that_do_not_fit():
    preprocessor = TwoViewDataPreprocessor([1.0, 2.0], [1.0, 1.0])
    with pytest.raises(UserError, match='mean and std have 2 values, .* 3 channels'):
        preprocessor(batch_of(3))
    with pytest.raises(UserError, match=r"has \['mask'\] but no inputs; .*PackMIMInputs"):
        preprocessor(dict(mask=torch.ones(1)))
    unstacked = dict(inputs=list(batch_of(2)['inputs']))
    with pytest.raises(UserError, match=r"is list, .*collate_fn=dict\(type='default_collate'\)"):
        preprocessor(unstacked)
    with pytest.raises(UserError, match=r'token_inputs of the batch is \(2, 3, 2\), expected'):
        preprocessor(dict(batch_of(2), token_inputs=torch.zeros(2, 3, 2)))


PREPROCESSOR = dict(type='TwoViewDataPreprocessor', mean=0, std=255)
TOKENIZER = dict(
    type='DVAETokenizer',
    vocab_size=4,
    stride=8,
    width=8,
    num_blocks=0,
    data_preprocessor=PREPROCESSOR,
)
MODEL = dict(
    type='MaskedImageModel',
    tokenizer=TOKENIZER,
    backbone=dict(type='BEiTEncoder', arch=dict(embed_dims=4, num_layers=1, num_heads=1)),
    neck=dict(type='MaskedPatchNeck', dims=4),
    head=dict(type='VisualTokenHead', vocab_size=4, dims=4),
    data_preprocessor=PREPROCESSOR,
)


@pytest.mark.parametrize('config', [TOKENIZER, MODEL])
def test_models_find_it_without_a_default_scope(config):
    """As where a model is built from its config in Python, without a Runner."""
    assert DefaultScope.get_current_instance() is None
    assert isinstance(MODELS.build(config).data_preprocessor, TwoViewDataPreprocessor)
