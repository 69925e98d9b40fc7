"""The comparisons of docs/parity.md; of those at full size one, since they take long."""

from pathlib import Path

import pytest
import torch

from beit_mm.models.layers.rel_pos_bias import RelativePositions
from benchmarks import parity
from benchmarks.peers import comparison

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# One at full size: the others differ from it in what the small ones compare.
HERE = [name for name in parity.EQUAL if name.endswith('small')] + ['hf_mim_base']


@pytest.mark.parametrize('name', HERE)
def test_same_function(name):
    row = parity.EQUAL[name]()
    assert row.outputs <= parity.ALLOWED, row
    assert row.gradients <= parity.ALLOWED, row


@pytest.mark.parametrize('name', parity.PUBLISHED)
def test_published(name):
    rows = list(parity.PUBLISHED[name]())
    assert rows
    for row in rows:
        assert row.error <= row.allowed, row


def test_same_function__a_different_one_is_seen(monkeypatch):
    original = RelativePositions.bias_of

    def transposed(self, *args):
        return original(self, *args).transpose(2, 3).contiguous()

    monkeypatch.setattr(RelativePositions, 'bias_of', transposed)
    row = parity.EQUAL['timm_small']()
    assert row.outputs > 100 * parity.ALLOWED and row.gradients > 100 * parity.ALLOWED


def test_same_function__nothing_to_compare_is_no_success():
    with pytest.raises(ValueError, match='Nothing to compare'):
        comparison.largest_error(torch.zeros(3), torch.zeros(3))


def test_document__has_every_row():
    text = (ROOT / 'docs/parity.md').read_text(encoding='utf-8')
    table = [line for line in text.splitlines() if line.startswith('| ')]
    equal = [line for line in table if line.split(' | ')[2] in ('small', 'base')]
    assert len(equal) == len(parity.EQUAL)
    for name in ('layer_decay', 'second_view', 'dalle_pixels', 'schedules'):
        for row in parity.PUBLISHED[name]():
            assert any(line.startswith(f'| {row.what} |') for line in table), row.what
