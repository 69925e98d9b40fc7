"""Measure what pre-training gives on real images: one command for each table of docs/results.md.

    python -m benchmarks.evidence cifar10 --data cifar10.zip      # BEiT against scratch
    python -m benchmarks.evidence peers --data cifar10.zip        # beside other pre-trainings
    python -m benchmarks.evidence lightly --data cifar10.zip --python OTHER/bin/python
    python -m benchmarks.evidence inits --data cifar10.zip        # how the encoder begins
    python -m benchmarks.evidence ablations --data cifar10.zip
    python -m benchmarks.evidence recipe --data cifar10.zip
    python -m benchmarks.evidence camvid --data camvid.zip        # segmentation
    python -m benchmarks.evidence page        # puts the new records into docs/results.md

Finished cells are skipped when it is run again, and one that was stopped goes on. The JSON of each
cell is kept in OUT/records. --quick takes two steps of each training on a few images, to see that
everything runs.
"""

import argparse
from pathlib import Path

from mmengine.registry import init_default_scope

import beit_mm  # noqa: F401  (before mmpretrain)
from beit_mm.cli.run_tool import run_tool
from beit_mm.contracts import UserError
from benchmarks.evidence import camvid, cifar10, page
from benchmarks.evidence.bench import Bench

TABLES = dict(cifar10.TABLES, camvid=camvid.few_masks)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.evidence', description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('table', choices=[*TABLES, 'page'])
    parser.add_argument('--data', type=Path, help='a folder or a zip file')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence'))
    parser.add_argument('--seeds', type=int, nargs='*', default=[0, 1, 2], help='of fine-tunings')
    parser.add_argument(
        '--long-seeds', type=int, nargs='*', default=[0], help='of four times as long ones'
    )
    parser.add_argument(
        '--pretrain-seeds', type=int, nargs='*', default=[], help='of more pre-trainings'
    )
    parser.add_argument('--labels', type=int, nargs='+', default=[400, 4_000])
    parser.add_argument(
        '--methods', nargs='+', choices=cifar10.PEERS, default=['beit'], help='pre-trainings'
    )
    parser.add_argument(
        '--steps', type=int, nargs='+', default=[cifar10.PRETRAIN_STEPS], help='of pre-trainings'
    )
    parser.add_argument('--python', type=Path, help='with lightly-train, for its table')
    parser.add_argument('--shares', type=int, nargs='+', default=[10, 100], help='of masks')
    parser.add_argument('--quick', action='store_true', help='two steps; figures mean nothing')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.table == 'page':
        page.write_page(page.collect(args.out, page.read_runs()))
        return
    if args.data is None:
        raise UserError(f'--data is missing: a folder or a zip file of the images of {args.table}')
    init_default_scope('beit_mm')
    bench = Bench(args.out, args.data, args.quick)
    TABLES[args.table](bench, args)


if __name__ == '__main__':
    run_tool(main)
