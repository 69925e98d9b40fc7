"""Measure what the features of encoders know of classes (tools/analysis_tools/probe.py)."""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from beit_mm.apis import Model, find_images, load_model
from beit_mm.apis.batch import Batch
from beit_mm.apis.other_encoder import KINDS, load_other
from beit_mm.apis.results.result import csv_text
from beit_mm.apis.verbs.verb import ENCODERS, backbone_of
from beit_mm.checkpoints.store import write_atomically
from beit_mm.cli.arguments import add_device, add_overwrite, positive_int, refuse_existing
from beit_mm.contracts import UserError
from beit_mm.datasets.labelled_image_folder import LabelledImageFolder
from beit_mm.datasets.spread import spread_over_classes
from beit_mm.evaluation.frozen_probes import probe
from beit_mm.evaluation.layer_features import POOLS, layer_features
from beit_mm.progress import Progress

BATCH = 32
Row = dict[str, str | int | list[float]]


def probe_model(model: Model, files: Sequence[str], labels: Tensor, args) -> Iterator[Row]:
    """Yield a row for each layer and pooling: a list of accuracies for each measure."""
    for number, pools in enumerate(features_of(model, files)):
        for pool in args.pools:
            if pool in pools:
                yield dict(
                    layer=number, pool=pool, **probe(pools[pool], labels, args.splits, args.shots)
                )


def features_of(model: Model, files: Sequence[str]) -> list[dict[str, Tensor]]:
    """Return the features (N, C) of images for each layer and pooling.

    Raises:
        UserError: The model has no encoder, or an image cannot be read.
    """
    if model.task not in ENCODERS:
        raise UserError(f'{model.source} is a {model.task}, which has no encoder to be probed')
    reader = model.reader(find_images([*files])[0])
    found = []
    with Progress(model.source, len(files)) as bar, torch.no_grad():
        for loaded in DataLoader(reader, BATCH, collate_fn=list):
            if failed := [image.error for image in loaded if image.error]:
                raise UserError(failed[0])
            same = len({image.shapes for image in loaded}) == 1
            for part in [loaded] if same else [[image] for image in loaded]:
                inputs = Batch.of(part, model.preprocessor, model.task == 'segmentation').inputs
                found.append(layer_features(backbone_of(model.module), inputs))
            bar.step(len(loaded))
    return [
        {pool: torch.cat([part[pool] for part in layer]).cpu() for pool in layer[0]}
        for layer in zip(*found, strict=True)
    ]


def read_labelled(args: argparse.Namespace) -> tuple[list[str], Tensor]:
    """Return files, and their classes from 0."""
    dataset = LabelledImageFolder(args.images, labels=args.labels)
    infos = [dataset.get_data_info(place) for place in range(len(dataset))]
    places = spread_over_classes([info['gt_label'] for info in infos], args.number)
    labels = np.unique([infos[place]['gt_label'] for place in places], return_inverse=True)[1]
    return [infos[place]['img_path'] for place in places], torch.from_numpy(labels)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown, with mean (lowest to highest) of the splits."""
    lines = [[*rows[0]], ['---'] * 3 + ['---:'] * (len(rows[0]) - 3)]
    for row in rows:
        place, lists = [*row.values()][:3], [*row.values()][3:]
        cells = [f'{np.mean(v):.1f} ({min(v):.1f} to {max(v):.1f})' for v in lists]
        lines.append([*map(str, place), *cells])
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='What features of encoders know of classes')
    parser.add_argument(
        'models',
        nargs='+',
        help='work dirs, checkpoints, exported folders; timm:NAME, timm:NAME=FILE, hf:MODEL_TYPE '
        '(random weights) or hf:FOLDER',
    )
    parser.add_argument(
        '--config',
        action='append',
        help='of a checkpoint that does not describe itself; once for all, or once for each',
    )
    parser.add_argument('--images', required=True, help='folder with a folder for each class')
    parser.add_argument('--labels', help='table of labels, in the place of class folders')
    parser.add_argument('--number', type=positive_int, default=1000, help='images, at most')
    parser.add_argument('--pools', nargs='+', choices=POOLS, default=[*POOLS])
    parser.add_argument('--shots', type=positive_int, nargs='*', default=[5])
    parser.add_argument('--splits', type=positive_int, default=5, help='draws of the halves')
    parser.add_argument('--out', type=Path, help='a CSV file')
    add_overwrite(parser)
    add_device(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    refuse_existing('--out', args.out, args.overwrite)
    files, labels = read_labelled(args)
    rows: list[Row] = []
    ours, configs = [n for n in args.models if n.split(':')[0] not in KINDS], args.config or [None]
    if len(configs) not in (1, len(ours)):
        raise UserError(
            f'--config: {len(configs)} for {len(ours)} checkpoints; give one for all, or one for '
            'each in their order (timm: and hf: take none)'
        )
    config_of = dict(zip(ours, cycle(configs), strict=False))
    for name in args.models:
        load = partial(load_model, config=config_of[name]) if name in config_of else load_other
        model = load(name, device=args.device)
        rows += [dict(model=name, **row) for row in probe_model(model, files, labels, args)]
    print(table(rows))
    counts = labels.bincount()
    print(
        f'\nPercent of {len(files)} images of {len(counts)} classes, over {args.splits} splits in '
        f'two; chance {100 * counts.max().item() / len(files):.1f}'
    )
    if args.out:
        lines = [['model', 'layer', 'pool', 'measure', 'split', 'accuracy']]
        for row in rows:
            place = [*row.values()][:3]
            for name in [*row][3:]:
                lines += [[*place, name, number, value] for number, value in enumerate(row[name])]
        write_atomically(args.out, csv_text(lines).encode())
