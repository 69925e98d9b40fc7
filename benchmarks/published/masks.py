"""Block-wise masks against the algorithm and the statistics of the published code."""

import math
import random
from collections.abc import Iterator

import numpy as np

from beit_mm.datasets.transforms import BlockwiseMask
from benchmarks.published.row import Published, compare_number, compare_rule

SOURCE = 'unilm beit/masking_generator.py, 4000 masks'
NUMBER = 4000


def draw(number: int, **kwargs) -> np.ndarray:
    """Return masks (number, 14, 14) of BlockwiseMask."""
    random.seed(0)
    transform = BlockwiseMask(14, num_masked=75, **kwargs)
    return np.stack([transform({})['mask'] for _ in range(number)])


def draw_published(rng: np.random.Generator) -> np.ndarray:
    """Return one mask (14, 14) of unilm beit/masking_generator.py, from its description."""
    mask, count = np.zeros((14, 14), int), 0
    while count < 75:
        most, placed = 75 - count, 0
        for _ in range(10):
            area = rng.uniform(min(16, most), max(16, most))
            aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= 14 or w >= 14:
                continue
            y, x = rng.integers(0, 14 - h, endpoint=True), rng.integers(0, 14 - w, endpoint=True)
            block = mask[y : y + h, x : x + w]
            placed = h * w - block.sum()
            if 0 < placed <= most:
                block[:] = 1
                break
            placed = 0
        if not placed:
            break
        count += placed
    return mask.astype(bool)


def compare_masks() -> Iterator[Published]:
    ours = draw(NUMBER)
    counts, where = ours.sum((1, 2)), ours.mean(0)
    for what, published, here, allowed in (
        ('Masked patches of 196, mean', 74.49, counts.mean(), 0.15),
        ('Masks with exactly 75, part', 0.675, (counts == 75).mean(), 0.03),
        ('Masks with more than 75', 0, (counts > 75).sum(), 0),
        ('Masked part of the first row', 0.135, where[0].mean(), 0.015),
        ('Masked part of the last row', 0.135, where[-1].mean(), 0.015),
        ('Masked part of the first column', 0.135, where[:, 0].mean(), 0.015),
        ('Masked part of the last column', 0.135, where[:, -1].mean(), 0.015),
        ('Masked part of the center', 0.72, where[6:8, 6:8].mean(), 0.03),
    ):
        yield compare_number(what, SOURCE, published, here, allowed)
    rng = np.random.default_rng(0)
    theirs = np.stack([draw_published(rng) for _ in range(NUMBER)])
    error = np.abs(where - theirs.mean(0)).max()
    yield compare_rule(
        'Masked part of each patch, largest difference',
        'the same algorithm written a second time, 4000 masks',
        error,
        # Two means of Bernoulli draws: 4.5 sigma of their difference, for the worst of 196.
        4.5 * math.sqrt(2 * 0.25 / NUMBER),
        here=f'{error:.3f}',
    )
    exact = draw(1000, mode='exactly').sum((1, 2))
    yield compare_rule(
        "Masked patches with mode='exactly', all of 1000 masks",
        'unilm beit2/masking_generator.py',
        np.abs(exact - 75).max(),
        0,
        '75',
        f'{exact.min()} to {exact.max()}',
    )
