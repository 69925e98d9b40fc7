"""Which loaders get the timeout; that it ends a hanging run is in tests/engine/test_resume.py."""

from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from beit_mm.engine import WorkerTimeoutHook

STAGES = ('train', 'val', 'test')


def limits(**settings):
    """The timeouts of loaders for training, validation and test."""
    hook, found = WorkerTimeoutHook(seconds=9), []
    for stage in STAGES:
        loader = DataLoader([1, 2], **settings)
        getattr(hook, f'before_{stage}')(SimpleNamespace(**{f'{stage}_dataloader': loader}))
        found.append(loader.timeout)
    return found


def test_workers__are_waited_for_in_every_stage():
    assert limits(num_workers=1) == [9, 9, 9]


def test_timeout_of_its_own__is_kept():
    assert limits(num_workers=1, timeout=3) == [3, 3, 3]


def test_without_workers__there_is_nothing_to_wait_for():
    assert limits(num_workers=0) == [0, 0, 0]


@pytest.mark.parametrize('seconds', [0, -1])
def test_seconds__named_in_errors(seconds):
    with pytest.raises(ValueError, match=f'WorkerTimeoutHook.seconds={seconds}: expected more'):
        WorkerTimeoutHook(seconds)
