import subprocess
import sys

import torch

from beit_mm import torchvision_cpu

SCRIPT = """
import importlib.util, os, sys
import torch

spec = importlib.util.spec_from_file_location('shim', sys.argv[1])
shim = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shim)
if not os.fork():  # a process without the declarations
    try:
        import torchvision.ops
        print('imported', flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
print(shim.declare_missing_ops(), shim.declare_missing_ops())
assert 'torchvision' not in sys.modules
import torchvision.ops
print('imported', shim.declare_missing_ops())
"""


def test_shim__declares_exactly_where_torchvision_fails_without_it():
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, torchvision_cpu.__file__], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    without, declared, after = done.stdout.splitlines()
    missing = 'torchvision::nms does not exist' in without
    assert missing or without == 'imported'
    # Once, and not again when called a second time or after the import.
    assert (declared, after) == (f'{missing} False', 'imported False')


def test_import_of_the_package__has_declared_them():
    import torchvision.ops  # noqa: F401

    assert 'Tensor dets' in str(torch.ops.torchvision.nms.default._schema)
    assert torchvision_cpu.declare_missing_ops() is False
