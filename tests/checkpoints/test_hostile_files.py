"""No file crashes the reader, takes memory that it has not, or keeps it for ever.

All are read in one process, which has little more memory than it needs before.
"""

import json
import subprocess
import sys

import pytest
from hostile_checkpoints import hostile_checkpoints

pytestmark = pytest.mark.slow
FILES = hostile_checkpoints()
MORE = 2**29  # bytes that the reading process may take beyond those of its start
SCRIPT = f"""
import json, resource, signal, sys, warnings
from pathlib import Path
from beit_mm.checkpoints import peek, read_checkpoint
from beit_mm.contracts import UserError

warnings.simplefilter('ignore')

def told(read, path):
    try:
        read(path)
    except UserError as error:
        return ['refused', str(error)]
    except BaseException as error:
        return ['failed', repr(error)[:200]]
    return ['read', '']

def too_long(*_):
    raise TimeoutError

signal.signal(signal.SIGALRM, too_long)
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {MORE},) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    signal.alarm(60)
    small = path.stat().st_size < 50000  # peek reads in the same way, so not all twice
    answers = [told(read, path) for read in (read_checkpoint, peek)[: 1 + small]]
    print(json.dumps([path.name, *answers]), flush=True)
"""


@pytest.fixture(scope='module')
def answers(tmp_path_factory):
    """What reading and peeking say of each file; none of a file at which the process ended."""
    folder = tmp_path_factory.mktemp('hostile')
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(folder)], capture_output=True, text=True, timeout=500
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('[')]
    found = {name: answer for name, *answer in lines}
    return {**dict.fromkeys(FILES, f'ended with {done.returncode}: {done.stderr[-300:]}'), **found}


@pytest.mark.parametrize('name', FILES)
def test_hostile_file__is_refused_in_words(answers, name):
    read, *peeked = answers[name]
    assert read[0] == 'refused', read
    assert name in read[1] and 'weights_only' not in read[1]
    seen = 'expanded' not in name and 'booleans' not in name  # peek looks at no data of tensors
    if seen or name == 'booleans of 65.pth':
        assert all(answer[0] == 'refused' for answer in peeked), peeked


def test_messages__name_the_place_and_the_call(answers):
    for name, words in {
        'os.system.pth': "meta.0 is made by 'os.system'",
        'object dtype.pth': 'an array of objects',
        'sparse tensor.pth': 'a sparse layout, which is not read',
        'shared modules.pth': 'takes more than 48 times that',
        'list in itself.pth': 'nested more than 100 deep',
        'storage of 2**30.pth': 'data/0 has another size',
        'expanded to 4 GiB.pth': 'if it is yours, save clones of these',
        'compressed by LZMA.pth': 'another way than by deflate',
        'tar of an old torch.pth': 'not a checkpoint',
    }.items():
        assert words in answers[name][0][1], answers[name]
