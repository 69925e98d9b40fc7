"""What the import of the package brings along, and what waits. Each script is a fresh process."""

import subprocess
import sys

import pytest

AT_ONCE = """
import sys
import beit_mm
print(*{'torch', 'numpy', 'mmengine', 'mmcv', 'cv2', 'rich'} & set(sys.modules))
"""

MMENGINE = """
import sys
import beit_mm, torch
import mmengine.runner
heavy = {'torch._dynamo', 'torch.distributed.fsdp', 'torch.distributed.optim', 'transformers',
         'torchvision', 'matplotlib'}
print('early', *heavy & set(sys.modules))

from mmengine.model import MMFullyShardedDataParallel, is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIMIZERS, STRATEGIES
from mmengine.runner.checkpoint import CheckpointLoader
print('safe', *{loader.__module__ for loader in CheckpointLoader._schemes.values()})
names = {'ZeroRedundancyOptimizer': OPTIMIZERS, 'FSDPStrategy': STRATEGIES,
         'MMFullyShardedDataParallel': MODEL_WRAPPERS}
if OPTIMIZERS.get('Adafactor'):
    names['Adafactor'] = OPTIMIZERS
print('known', all(registry.get(name) is not None for name, registry in names.items()))
print('wrapper', is_model_wrapper(torch.nn.Linear(1, 1)),
      isinstance(torch.nn.Linear(1, 1), MMFullyShardedDataParallel))

class Mine(MMFullyShardedDataParallel): pass
from torch.distributed.fsdp import FullyShardedDataParallel
print('derived', issubclass(Mine, FullyShardedDataParallel),
      MODEL_WRAPPERS.get('MMFullyShardedDataParallel') in Mine.__mro__,
      issubclass(Mine, MMFullyShardedDataParallel))
from mmengine._strategy import FSDPStrategy
from mmengine._strategy.base import BaseStrategy
print('loaded', issubclass(FSDPStrategy.load(), BaseStrategy),
      STRATEGIES.get('FSDPStrategy') is FSDPStrategy.load())
"""

OPTIMIZERS = """
import os, sys
import torch
from beit_mm.eager_optimizers import spare_compiler

def train():
    torch.manual_seed(0)
    for cls in (torch.optim.AdamW, torch.optim.SGD, torch.optim.Adam):
        weight = torch.nn.Parameter(torch.randn(4, 4))
        optimizer = cls([weight], lr=0.1, weight_decay=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        print(weight.requires_grad, torch.is_grad_enabled(), weight.sum().item().hex())
    print('torch._dynamo' in sys.modules, flush=True)

if not os.fork():
    train()
    os._exit(0)
os.wait()
spare_compiler()
train()
"""


def run(script: str) -> list[str]:
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_import_of_the_package__brings_neither_torch_nor_mmengine():
    assert run(AT_ONCE) == ['']


@pytest.mark.slow
def test_mmengine__is_safe_and_light_and_knows_all_its_classes():
    assert run(MMENGINE) == [
        'early',
        'safe beit_mm.checkpoints.loaders',
        'known True',
        'wrapper False False',
        'derived True True True',
        'loaded True True',
    ]


@pytest.mark.slow
def test_spare_compiler__changes_no_bit_and_imports_no_compiler():
    lines = run(OPTIMIZERS)
    half = len(lines) // 2
    assert lines[: half - 1] == lines[half:-1]
    assert lines[half - 1] == 'True' and lines[-1] == 'False'
