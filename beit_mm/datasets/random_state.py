import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from beit_mm.datasets.samplers import SeededIndex


@contextmanager
def kept_random_state(seed: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch (on the CPU) inside, and restore them."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        SeededIndex(0, seed).seed_generators()
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
