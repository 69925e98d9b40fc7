import importlib.util
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # fuzzing, corpus

import fuzzing  # noqa: E402
import pytest  # noqa: E402


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
