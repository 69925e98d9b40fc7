import logging
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

import beit_mm  # noqa: F401  (before mmpretrain, see beit_mm/torchvision_cpu.py)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, on one thread."""
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_default_scope(monkeypatch):
    """No test finds its classes in the scope that a Runner of an earlier one has left."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


@pytest.fixture(autouse=True)
def close_logs():
    """Close the log file that each Runner opens."""
    yield
    for logger in list(MMLogger._instance_dict.values()):
        for handler in list(logger.handlers):
            if isinstance(handler, logging.FileHandler):
                handler.close()
                logger.removeHandler(handler)  # MMEngine would write to the closed file
