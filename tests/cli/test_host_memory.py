import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import torch
from beit_mm.cli.host_memory import keep_memory

keep_memory()
def count_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(6 << 20) for _ in range(6)]  # 24 MiB each, of 6,144 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(count_faults() for _ in range(30)))  # the first ones find their places
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='an option of glibc')
def test_memory_of_a_step__is_there_in_the_next_one():
    environment = dict(os.environ, THP_MEM_ALLOC_ENABLE='0')  # as on a system without huge pages
    done = subprocess.run(
        [sys.executable, '-c', CODE], env=environment, stdout=subprocess.PIPE, check=True
    )
    assert int(done.stdout) < 100
