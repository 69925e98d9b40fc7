import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def no_runner_left():
    """A Runner makes its scope and its log the current ones of the process."""
    managers = (DefaultScope, MMLogger, MessageHub)
    before = [dict(manager._instance_dict) for manager in managers]
    yield
    for manager, instances in zip(managers, before, strict=True):
        manager._instance_dict.clear()
        manager._instance_dict.update(instances)
