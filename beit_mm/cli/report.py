"""Report on trainings as one page, words and a table in the terminal (tools/report.py)."""

import argparse
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger

from beit_mm.apis.reports import Report, are_repeats, find_runs, pictures, read_run
from beit_mm.cli.arguments import add_device, add_overwrite, refuse_existing
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.visualization import grid_figure, to_svg

MARKS = dict(good='+', unsure='?', bad='!', note='-')
ROWS = [  # stage of a chain, its figure, what it is
    ('tokenizer', 'tokenizer/codes_used_percent', 'tokenizer: codes used (%)'),
    ('tokenizer', 'tokenizer/perplexity', 'tokenizer: perplexity'),
    ('tokenizer', 'tokenizer/psnr', 'tokenizer: PSNR (dB)'),
    ('pretrain', 'mim/accuracy', 'pre-training: masked-token accuracy (%)'),
    ('pretrain', 'mim/loss', 'pre-training: loss (nats)'),
    ('pretrain', 'mim/unigram_entropy', 'pre-training: loss of the best constant guess (nats)'),
    ('cls_beit', 'accuracy/top1', 'classification, pre-trained: accuracy (%)'),
    ('cls_scratch', 'accuracy/top1', 'classification, from scratch: accuracy (%)'),
    ('cls_probe', 'accuracy/top1', 'linear probe of the frozen encoder: accuracy (%)'),
    ('seg_beit', 'mIoU', 'segmentation, pre-trained: mIoU (%)'),
    ('seg_scratch', 'mIoU', 'segmentation, from scratch: mIoU (%)'),
]


def make_table(chains: Sequence[Path], is_complete: bool = True) -> list[list[str]]:
    """Return a row for each of ROWS: what it is, its mean and, over several chains, its range.

    Chains that are no repeats of each other have a column each instead, and a row with their names.
    The figures are those of tools/test.py, else of the last validation. Stages that no chain has
    are left out.

    Args:
        is_complete: A stage that one chain has and another one lacks is an error; else it is left
            out.

    Raises:
        MissingFileError: One chain has a stage that another one lacks.
    """
    rows = []
    stages = {stage for stage, _, _ in ROWS}
    runs = [{stage: read_run(chain / stage, stage) for stage in stages} for chain in chains]
    are_alike = all(are_repeats([found[stage] for found in runs]) for stage in stages)
    for stage, key, title in ROWS:
        values = [stage_runs[stage].metric(key) for stage_runs in runs]
        if all(value is None for value in values) or None in values and not is_complete:
            continue
        if None in values:
            path = chains[values.index(None)] / stage / 'metrics.json'
            raise MissingFileError(
                f'{path} is missing; run tools/quickstart.sh or the chain to its end'
            )
        is_size = are_alike and key == 'tokenizer/perplexity'
        size = runs[0][stage].vocab_size if is_size else None
        rows.append([title + (f' (of {size})' if size else ''), f'{np.mean(values):.2f}'])
        if not are_alike:
            rows[-1][1:] = [f'{value:.2f}' for value in values]
        elif len(chains) > 1:
            rows[-1].append(f'{min(values):.2f} to {max(values):.2f} over {len(chains)} runs')
    names = ', '.join(chain.resolve().name for chain in chains)
    return rows if are_alike else [[f'Not repeats of each other, so no mean: {names}'], *rows]


def as_text(table: list[list[str]]) -> str:
    lines = (f'{title:54s} {"   ".join(f"{c:>7s}" for c in cells)}' for title, *cells in table)
    return '\n'.join(line.rstrip() for line in lines)


def write_figure(report: Report, path: Path) -> None:
    """Draw masked predictions beside segmentations with and without pre-training as an SVG.

    Raises:
        UserError: The runs are others, or they have no images.
    """
    segmentors = [run for run in report.runs if run.task == 'segmentation']
    found = {
        'masked': [run for run in report.runs if run.task == 'pretraining'],
        'pre-trained': [run for run in segmentors if run.is_pretrained],
        'scratch': [run for run in segmentors if not run.is_pretrained],
    }
    models = {name: report.models[runs[0].name] if runs else None for name, runs in found.items()}
    if None in models.values():
        raise UserError(
            f'--figure={path} needs a pre-training and two segmentations, one of them from '
            'scratch, each with a checkpoint'
        )
    masked = models.pop('masked')
    scratch = found['scratch'][0]
    images, places = report.images(scratch, models['scratch'])
    if not images:
        raise UserError(f'--figure={path}: there are no images; give some by --images')
    truths = report.truths(scratch, places)
    predicted = pictures.masked_predictions(masked, images)
    segmented = pictures.segmentations(models, images, truths)
    rows = [a + b for a, b in zip(predicted.rows, segmented.rows, strict=True)]
    titles = [*predicted.titles, *segmented.titles]
    drawn = grid_figure(rows, titles=titles, zoom=2, breaks=[len(predicted.titles)])
    path.write_text(to_svg(drawn), encoding='utf-8')


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Report on trainings: one page with all of them')
    parser.add_argument(
        'runs', type=Path, nargs='+', help='work dirs, or folders whose subfolders are work dirs'
    )
    parser.add_argument(
        '--out', type=Path, help='the page (default: report.html in the folder, or here if several)'
    )
    parser.add_argument('--images', nargs='+', help="for the pictures, instead of the runs' own")
    add_device(parser)
    parser.add_argument('--table', action='store_true', help='only print the table of chains')
    parser.add_argument('--figure', type=Path, help='write predictions and masks to this SVG too')
    add_overwrite(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    if args.table:
        print(f'\n{as_text(make_table(args.runs))}\n')
        return
    for option in ('out', 'figure'):  # report.html is this command's own
        refuse_existing(f'--{option}', vars(args)[option], args.overwrite)
    is_one = len(args.runs) == 1
    page = args.out or (args.runs[0] if is_one else Path()) / 'report.html'
    title = args.runs[0].resolve().name if is_one else 'Trainings side by side'
    with _quiet():
        report = Report(find_runs(args.runs), title, args.images, args.device)
        report.write(page)
        if args.figure:
            write_figure(report, args.figure)
        table = make_table(args.runs, is_complete=False)
    for verdict in report.sentences():
        print(f'{MARKS[verdict.mark]} {verdict.text}')
    for name, notes in report.notes.items():
        print(''.join(f'  {name}: {note}\n' for note in notes), end='')
    print(f'\n{as_text(table)}\n' if table else '')
    print(f'Pictures and curves: {page} (open it in a browser)')


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what loading of models and data sets logs, and warnings of libraries, to itself."""
    logger, before = MMLogger.get_current_instance(), logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    logger.setLevel(logger.level)  # or it remembers what was shown
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
        logger.setLevel(logger.level)
