"""The properties of targets and tokenizers, for everything in the registry."""

import pytest
import torch
from examples import TARGETS, TOKENIZERS, build, registered

from beit_mm.contracts import Target, Tokenizer, UserError
from beit_mm.registry import MODELS

ABSTRACT = {'AutoencoderTokenizer'}  # its parts come from the config
names = pytest.mark.parametrize('name', TOKENIZERS)


def images(tokenizer, size=(2, 3), grid=(3, 2), channels=3):
    height, width = (side * tokenizer.stride for side in grid)
    return torch.rand(size[0], channels, height, width)


def trained(name, **changes) -> Tokenizer:
    """Return a tokenizer after a few training steps, in eval mode."""
    tokenizer = build(TOKENIZERS, name, **changes)
    if type(tokenizer).loss is not Tokenizer.loss:
        tokenizer.train()
        for _ in range(4):
            tokenizer.loss(images(tokenizer, size=(8, 3)))
    return tokenizer.eval()


def test_every_plugin_has_an_example():
    assert set(registered(Tokenizer)) - ABSTRACT == set(TOKENIZERS)
    assert set(registered(Target)) - set(registered(Tokenizer)) == set(TARGETS)


@names
def test_ids__are_a_grid_of_whole_numbers_below_the_vocabulary(name):
    tokenizer = trained(name)
    batch = images(tokenizer)
    ids = tokenizer.encode(batch)
    assert ids.shape == (2, 3, 2) and ids.dtype == torch.long
    assert 0 <= ids.min() and ids.max() < tokenizer.vocab_size
    assert torch.equal(tokenizer(batch), ids)
    assert torch.equal(torch.cat([tokenizer.encode(one[None]) for one in batch]), ids)


@pytest.mark.parametrize('name', [*TOKENIZERS, *TARGETS])
def test_encode_at__has_the_rows_of_encode(name):
    target = trained(name) if name in TOKENIZERS else build(TARGETS, name).eval()
    batch = images(target)
    where = torch.tensor([[[0, 1], [1, 0], [0, 0]], [[0, 0], [0, 1], [1, 1]]]).bool()
    for positions in (where, ~where, torch.ones_like(where), torch.zeros_like(where)):
        found = target.encode_at(batch, positions)
        assert torch.equal(found, target.encode(batch)[positions])
    with pytest.raises(UserError, match=r'3 x 2 tokens .* 2 x 3 patches'):
        target.encode_at(batch, torch.ones(2, 2, 3, dtype=torch.bool))


@names
def test_encoding__changes_nothing(name):
    tokenizer = trained(name)
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    batch = torch.zeros_like(images(tokenizer))
    random = torch.get_rng_state()
    tokenizer.encode(batch)
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in tokenizer.state_dict().items():
        assert torch.equal(value, before[key]), key


@names
def test_state_dict__has_all_that_the_ids_depend_on(name):
    tokenizer, other = trained(name), build(TOKENIZERS, name).eval()
    batch = images(tokenizer)
    other.load_state_dict(tokenizer.state_dict())
    assert torch.equal(other.encode(batch), tokenizer.encode(batch))


@names
def test_declared_abilities__are_there(name):
    tokenizer = trained(name)
    batch = images(tokenizer)
    ids = tokenizer.encode(batch)
    for is_there, ask in (
        (tokenizer.can_decode, lambda: tokenizer.decode(ids)),
        (tokenizer.has_codebook, tokenizer.code_vectors),
        (tokenizer.has_posterior, lambda: tokenizer.posterior(batch)),
    ):
        if not is_there:
            with pytest.raises(UserError, match=name):
                ask()
    if tokenizer.can_decode:
        assert tokenizer.decode(ids).shape == batch.shape
        (sample, _) = tokenizer.predict(batch)
        assert 0 <= sample['recon'].min() and sample['recon'].max() <= 1
    if tokenizer.has_codebook:
        assert len(tokenizer.code_vectors()) == tokenizer.vocab_size
    if tokenizer.has_posterior:
        posterior = tokenizer.posterior(batch)
        assert posterior.shape == (*ids.shape, tokenizer.vocab_size)
        torch.testing.assert_close(posterior.sum(-1), torch.ones(ids.shape))
        assert torch.equal(posterior.argmax(-1), ids)


@names
def test_training__keeps_the_ids_of_its_step(name):
    tokenizer = build(TOKENIZERS, name)
    if type(tokenizer).loss is Tokenizer.loss:
        with pytest.raises(UserError, match=f'{name} has no loss'):
            tokenizer.loss(images(tokenizer))
        return
    tokenizer.train()
    for size in (16, 2):
        losses = tokenizer.loss(images(tokenizer, size=(size, 3)))
    assert tokenizer.latest_ids.numel() == 2 * 6 and not tokenizer.latest_ids.is_floating_point()
    total, log = tokenizer.parse_losses(losses)
    assert total.isfinite() and total.requires_grad
    before = tokenizer.latest_ids.clone()
    tokenizer.eval().predict(images(tokenizer, size=(1, 3)))
    assert torch.equal(tokenizer.latest_ids, before)


@names
def test_vocabulary__is_known_from_the_config(name):
    config = dict(TOKENIZERS[name], type=name)
    tokenizer = build(TOKENIZERS, name)
    assert type(tokenizer).vocab_size_of(config) == tokenizer.vocab_size


@names
def test_images_that_do_not_fit__are_refused_by_name(name):
    tokenizer = trained(name)
    odd = torch.rand(1, 3, tokenizer.stride * 2 + 1, tokenizer.stride * 2)
    if tokenizer.stride > 1:
        with pytest.raises(UserError, match='does not divide|whole number'):
            tokenizer.encode(odd)
    if tokenizer.in_channels is not None:
        with pytest.raises(UserError, match='in_channels=3.*5 channels'):
            tokenizer.encode(images(tokenizer, channels=5))
    fresh = trained(name)
    fresh._range_checked = False
    with pytest.raises(UserError, match=r'takes images in \[0, 1\]'):
        fresh.encode(255 * images(fresh))


@pytest.mark.parametrize('name', TARGETS)
def test_continuous_target__is_a_grid_of_values(name):
    target = build(TARGETS, name)
    values = target.encode(torch.rand(2, 3, 12, 8))
    assert values.shape == (2, 3, 2, target.target_dims) and values.is_floating_point()
    assert target.vocab_size is None
    config = dict(TARGETS[name], type=name)
    assert MODELS.get(name).target_dims_of(config) == target.target_dims
