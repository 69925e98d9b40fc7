import random

import numpy as np
import torch

from beit_mm.datasets.random_state import kept_random_state


def test_kept_random_state__same_inside_and_as_before_after():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    inside = []
    for seed in (0, 0, 1):
        with kept_random_state(seed):
            inside.append(draw())
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert after == states
    assert inside[0] == inside[1] != inside[2]
