"""Compare the encoder and the recipe with other implementations and with published numbers.

python benchmarks/parity.py [--out docs/parity.md]

It needs `pip install -r requirements/tests.txt`. Weights are random, nothing is downloaded. The
exit status is 1 if anything differs by more than is allowed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import beit_mm  # noqa: F401  (before mmpretrain)
from benchmarks.peers.comparison import Equal
from benchmarks.peers.models import EQUAL
from benchmarks.published.masks import compare_masks
from benchmarks.published.optimization import compare_layer_decay, compare_schedules
from benchmarks.published.pixels import (
    compare_dalle_pixels,
    compare_second_view,
    compare_table_resize,
)
from benchmarks.published.row import Published
from benchmarks.published.start import compare_init, compare_sizes

ALLOWED = 1e-5  # relative error of two equal functions, in float32
LIBRARIES = ['torch', 'transformers', 'timm', 'onedl-mmpretrain', 'onedl-mmsegmentation']
PUBLISHED: dict[str, Callable[[], Iterator[Published]]] = dict(
    masks=compare_masks,
    init=compare_init,
    sizes=compare_sizes,
    table_resize=compare_table_resize,
    second_view=compare_second_view,
    dalle_pixels=compare_dalle_pixels,
    layer_decay=compare_layer_decay,
    schedules=compare_schedules,
)
PAGE = """\
# Parity

Written by `python benchmarks/parity.py --out docs/parity.md`; the same
comparisons are tests in `tests/parity`. Do not edit it by hand.

## The same function as other implementations

Both models have the same random weights, moved by an explicit map of names, and the
same inputs, in float32 and eval mode. An error is the largest difference as a part of
the largest value of a tensor; the largest one over all outputs, and over the gradients
of all parameters, is shown. Up to {allowed:.0e} is allowed.

Versions: {versions}.

`small`: 4 layers of 64 channels, 36 patches, 2 images. `base`: BEiT-B/16, one image of
224 pixels.

| Compared | With | Size | Values | Outputs | Gradients |
| --- | --- | --- | ---: | ---: | ---: |
{equal}

What these rows do not cover: dropout and stochastic depth (tests of the layers), sizes
other than the one that positions are made for (see [any_size.md](any_size.md)), and
published weights, since none are downloaded here.

## The recipe against what was published

The third column is the published value or rule, the fourth what this package does; where
a rule is compared value by value, it is the largest error.

| Quantity | Source | Published | Here | Allowed error |
| --- | --- | ---: | ---: | ---: |
{published}
"""


def write_page(equal: list[Equal], published: list[Published]) -> str:
    """Return all rows as a page in Markdown."""
    return PAGE.format(
        allowed=ALLOWED,
        versions=', '.join(f'{name} {version(name)}' for name in LIBRARIES),
        equal='\n'.join(
            f'| {row.what} | {row.reference} | {row.size} | {row.values:,} | {row.outputs:.1e} | '
            f'{row.gradients:.1e} |'
            for row in equal
        ),
        published='\n'.join(
            f'| {row.what} | {row.source} | {row.published} | {row.here} | {row.allowed:.2g} |'
            for row in published
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, help='Markdown file; without it, it is printed')
    args = parser.parse_args()
    torch.set_num_threads(1)
    equal = [row() for row in EQUAL.values()]
    published = [row for rows in PUBLISHED.values() for row in rows()]
    text = write_page(equal, published)
    if args.out is None:
        print(text)
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding='utf-8')
    wrong = [row for row in equal if max(row.outputs, row.gradients) > ALLOWED]
    wrong += [row for row in published if row.error > row.allowed]
    if wrong:
        sys.exit('Not equal:\n' + '\n'.join(map(str, wrong)))


if __name__ == '__main__':
    main()
