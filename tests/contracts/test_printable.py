"""Names of files, tensors and keys come from anybody; a terminal must not obey them."""

import pickle

import pytest
import torch.nn as nn

from beit_mm.contracts import Finding, MissingFileError, UserError, printable
from beit_mm.contracts.load_report import LoadReport

HOSTILE = [
    'a\x1b[2J\x1b]0;title\x07.png',  # clears the screen, sets the title
    'a\rerror: all is well',
    'a\x9b31m.png',  # C1
    'a\x00b',
    'invoice\u202egnp.exe',  # right to left
    'a\u2066b',
    'a\u2028b',
    'a\x7f\x08b',
    'caf\udce9.png',  # bytes that are not UTF-8
]
FINE = [
    'images/Käfer 7.png',
    '蝴蝶.jpg',
    'пчела',
    'नमस्ते',
    'two\nlines\tand tabs',
    "it's 50 %",
    '🦋',
]


@pytest.mark.parametrize('name', HOSTILE)
@pytest.mark.parametrize(
    'say',
    [
        printable,
        lambda name: str(UserError(f'{name} is broken')),
        lambda name: str(MissingFileError(f'there is no {name}')),
        lambda name: str(pickle.loads(pickle.dumps(UserError(f'{name} of a worker')))),
        lambda name: str(Finding('error', name, f'{name} is broken', name)),
        lambda name: LoadReport.of(nn.Linear(1, 1), {f'{name}.{name}': 0}).by_module(),
    ],
)
def test_hostile_name__is_escaped_and_can_be_written(name, say):
    text = say(name)
    assert text.replace('\n', '').isprintable()
    text.encode()


@pytest.mark.parametrize('name', FINE)
def test_other_names__stay(name):
    assert printable(name) == name
