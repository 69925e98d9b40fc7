import importlib.util
from pathlib import Path

import fuzzing
import pytest


def pytest_sessionfinish():
    fuzzing.report()


@pytest.fixture(scope='session')
def check_dataset():
    """tools/check_dataset.py"""
    path = Path(__file__).resolve().parents[2] / 'tools/check_dataset.py'
    spec = importlib.util.spec_from_file_location('check_dataset', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
