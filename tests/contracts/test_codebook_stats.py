import math

import numpy as np
import pytest
import torch

from beit_mm.contracts.codebook_stats import codebook_stats, dead_codes


def test_figures_by_hand():
    health = codebook_stats(torch.tensor([0, 4, 0, 2, 2]), top=2)
    assert (health.tokens, health.codes_used, health.dead_codes) == (8, 3, 2)
    assert health.codes_used_percent == 60
    assert health.entropy == pytest.approx(1.5 * math.log(2))
    assert health.perplexity == pytest.approx(2**1.5)
    assert health.perplexity_percent == pytest.approx(20 * 2**1.5)
    assert health.top_codes == ((1, 50.0), (3, 25.0))
    assert '3 of 5 codes used (60.0%), perplexity 2.8, 8 tokens' in str(health)


def test_entropy_against_numpy__large_counts():
    counts = np.random.default_rng(0).integers(0, 2**40, 100)
    share = counts / counts.sum()
    expected = -(share * np.log(share)).sum()
    assert codebook_stats(torch.from_numpy(counts)).entropy == pytest.approx(expected, rel=1e-12)


def test_uniform_and_single_codes_are_the_two_ends():
    assert codebook_stats(torch.full((7,), 3)).perplexity_percent == pytest.approx(100)
    assert codebook_stats(torch.tensor([0, 9, 0])).perplexity == pytest.approx(1)


def test_no_tokens__no_codes_and_no_nan():
    health = codebook_stats(torch.zeros(4, dtype=torch.long))
    assert (health.codes_used, health.perplexity, health.entropy) == (0, 0.0, 0.0)
    assert health.top_codes == ()


def test_few_tokens__cannot_use_all_codes():
    few = codebook_stats(torch.tensor([1, 1, 0, 0, 0]))
    assert few.possible == 2 and few.codes_used_percent == 40  # of the vocabulary all the same
    assert codebook_stats(torch.tensor([9, 9, 0, 0, 0])).possible == 5


def test_dead_codes__scale_with_the_tokens():
    counts = torch.tensor([0, 1, 4, 95])  # each one's due is 25
    assert dead_codes(counts, share=0.05, min_tokens=10).tolist() == [True, True, False, False]
    assert dead_codes(10 * counts, share=0.05, min_tokens=10).tolist() == [True, True, False, False]
    # Not seen among so few tokens is not dead.
    assert not dead_codes(counts, share=0.05, min_tokens=26).any()
