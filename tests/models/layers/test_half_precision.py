import pytest
import torch

from beit_mm.models.layers import half_precision
from beit_mm.models.layers.half_precision import describe_slowdown, slowdown


@pytest.fixture
def clock(monkeypatch):
    """Seconds of a product in each type, for a CPU without units for any of them."""
    seconds = {torch.float32: 1.0}
    monkeypatch.setattr(half_precision, 'FAST_HALVES', frozenset())
    monkeypatch.setattr(half_precision, '_seconds', seconds.__getitem__)
    slowdown.cache_clear()
    yield seconds
    slowdown.cache_clear()


def test_describe_slowdown__names_type_and_factor(clock):
    clock[torch.bfloat16] = 51.2
    assert '51 times as long in bfloat16 as in float32' in describe_slowdown(torch.bfloat16)


def test_describe_slowdown__about_as_fast(clock):
    clock[torch.float16] = 1.6
    assert describe_slowdown(torch.float16) is None


def test_describe_slowdown__with_units_nothing_is_timed(monkeypatch):
    monkeypatch.setattr(half_precision, 'FAST_HALVES', frozenset({torch.bfloat16}))
    monkeypatch.setattr(half_precision, '_seconds', None)
    slowdown.cache_clear()
    assert describe_slowdown(torch.bfloat16) is None


def test_seconds__of_real_products():
    assert all(half_precision._seconds(t) > 0 for t in (torch.float32, torch.bfloat16))
