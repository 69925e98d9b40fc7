"""Properties that are tried on generated inputs, and how many of them.

BEIT_MM_FUZZ_EXAMPLES=2000 tries that many of each property, from the seed BEIT_MM_FUZZ_SEED;
BEIT_MM_FUZZ_REPORT=FILE writes what was tried. Without them it is the same few inputs each time.
"""

import functools
import json
import os
from collections import Counter
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get('BEIT_MM_FUZZ_EXAMPLES', 0))
SEED = int(os.environ.get('BEIT_MM_FUZZ_SEED', 0))
FEW = 20
tried: Counter = Counter()


def prop(few: int = FEW, **strategies):
    """Try a test on inputs of ``strategies``: ``few`` of them in the suite."""

    def decorate(function):
        name = f'{Path(function.__code__.co_filename).stem}::{function.__name__}'

        @functools.wraps(function)
        def counted(*args, **kwargs):
            tried[name] += 1
            return function(*args, **kwargs)

        test = given(**strategies)(counted)
        test = settings(
            max_examples=EXAMPLES or few,
            deadline=None,
            derandomize=not EXAMPLES,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(test)
        return hypothesis.seed(SEED)(test) if EXAMPLES else test

    return decorate


def report() -> None:
    if path := os.environ.get('BEIT_MM_FUZZ_REPORT'):
        Path(path).write_text(json.dumps(tried))


seeds = st.integers(0, 2**32 - 1)


@st.composite
def mutated(draw, sources: dict[str, bytes]) -> tuple[str, bytes]:
    """(name, content) of one of ``sources`` after some damage, or of any bytes at all."""
    name = draw(st.sampled_from(sorted(sources)))
    content = bytearray(sources[name])
    for _ in range(draw(st.integers(0, 4))):
        size = len(content)
        # the first bytes hold more of what a reader believes
        place = draw(st.integers(0, max(size - 1, 0)) | st.integers(0, min(size, 64)))
        kind = draw(st.sampled_from(['flip', 'cut', 'set', 'drop', 'insert', 'repeat', 'zero']))
        if kind == 'cut':
            del content[place:]
        elif kind == 'insert':
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif kind == 'drop':
            del content[place : place + draw(st.integers(1, 16))]
        elif kind == 'repeat':
            content[place:place] = content[place : place + draw(st.integers(1, 64))]
        elif kind == 'zero':
            end = min(place + draw(st.integers(1, 64)), size)
            content[place:end] = bytes(max(end - place, 0))
        elif place < size:
            value = draw(st.integers(1, 255))
            content[place] = content[place] ^ value if kind == 'flip' else value
    if draw(st.integers(0, 15)) == 0:
        content = bytearray(draw(st.binary(max_size=200)))
    return name, bytes(content)
