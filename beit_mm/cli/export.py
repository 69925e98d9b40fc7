"""Write a folder that another library loads (tools/export.py)."""

import argparse

from beit_mm.apis.export.export_model import TARGETS, export


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description='Write a folder that another library loads by itself, after a proof'
    )
    parser.add_argument('model', help='work dir, checkpoint or exported folder')
    parser.add_argument('folder', help='to write')
    parser.add_argument('--to', choices=list(TARGETS), default='huggingface')
    parser.add_argument('--config', help='of a checkpoint that does not describe itself')
    average = parser.add_mutually_exclusive_group()
    average.add_argument(
        '--ema', action='store_true', default=None, help='the average of the weights, or an error'
    )
    average.add_argument(
        '--no-ema', dest='ema', action='store_false', help='the weights without averaging'
    )
    parser.add_argument('--half', action='store_true', help='store the weights in float16')
    parser.add_argument('--backbone', action='store_true', help='leave the head behind')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='of images; else as trained'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier export')
    args = parser.parse_args(arguments)
    names = ('to', 'ema', 'half', 'backbone', 'size', 'overwrite', 'config')
    found = export(args.model, args.folder, **{name: vars(args)[name] for name in names})
    for note in found.notes:
        print(f'note: {note}')
    for name, value in found.differences.items():
        print(f'{name}: differs by at most {value:.0e}')
    print(f'wrote {found.folder}: {found.task}, loaded and compared, for {found.to}')
