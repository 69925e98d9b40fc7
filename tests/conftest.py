import random

import numpy as np
import pytest
import torch

import beit_mm  # noqa: F401  (before mmpretrain, see beit_mm/torchvision_cpu.py)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, on one thread."""
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
