"""The properties of quantizers, for everything in the registry."""

import pytest
import torch
from examples import QUANTIZERS, build, registered

from beit_mm.contracts import Quantizer

names = pytest.mark.parametrize('name', QUANTIZERS)


def started(name):
    """Return a quantizer that has its codes."""
    quantizer = build(QUANTIZERS, name).train()
    quantizer(torch.randn(8, 3, 2, quantizer.in_dims))
    return quantizer


def test_every_plugin_has_an_example():
    assert registered(Quantizer) == sorted(QUANTIZERS)


@names
def test_training__gives_codes_ids_and_a_gradient(name):
    quantizer = started(name)
    z = torch.randn(2, 3, 2, quantizer.in_dims, requires_grad=True)
    codes, ids, losses = quantizer(z)
    assert codes.shape == (2, 3, 2, quantizer.code_dim) and ids.shape == (2, 3, 2)
    (codes * torch.randn_like(codes)).sum().backward()
    assert z.grad.abs().sum() > 0
    assert all(value.isfinite() for value in losses.values())


@names
def test_encode__changes_nothing_and_is_what_evaluation_gives(name):
    quantizer = started(name)
    z = torch.randn(2, 3, 2, quantizer.in_dims)
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    ids = quantizer.encode(z)
    for key, value in quantizer.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert torch.equal(quantizer.eval()(z)[1], ids)


@names
def test_lookup__has_a_code_for_each_id(name):
    quantizer = started(name).eval()
    codes = quantizer.lookup(torch.arange(quantizer.vocab_size))
    assert codes.shape == (quantizer.vocab_size, quantizer.code_dim)
    assert len(codes.unique(dim=0)) == quantizer.vocab_size


@names
def test_posterior__sums_to_one_and_is_highest_at_the_id(name):
    quantizer = started(name).eval()
    if not quantizer.has_posterior:
        return
    z = torch.randn(2, 3, 2, quantizer.in_dims)
    posterior = quantizer.posterior(z)
    torch.testing.assert_close(posterior.sum(-1), torch.ones(2, 3, 2))
    assert torch.equal(posterior.argmax(-1), quantizer.encode(z))
