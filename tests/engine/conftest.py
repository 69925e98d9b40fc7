import sys
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

sys.path.append(str(Path(__file__).parent))  # tiny_training, which subprocesses import as well


@pytest.fixture(autouse=True)
def close_logs():
    """Each Runner opens a log file."""
    yield
    for logger in list(MMLogger._instance_dict.values()):
        for handler in list(logger.handlers):
            handler.close()
            logger.removeHandler(handler)  # MMEngine would write to the closed file
