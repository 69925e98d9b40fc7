"""Check all files that a config's data sets read (tools/check_dataset.py)."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import groupby
from pathlib import Path

import cv2
from mmengine.config import Config

from beit_mm.cli.arguments import add_overwrite, config_parser, positive_int, refuse_existing
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import Finding, UserError
from beit_mm.contracts.finding import LEVELS
from beit_mm.datasets.spread import spread
from beit_mm.preflight.files import (
    Split,
    check_duplicates,
    check_folders,
    check_labels,
    check_sample,
    read_splits,
)
from beit_mm.preflight.files.split_checks import check_classes, check_mixed
from beit_mm.progress import Progress


def check_config_data(
    config: Config, names: tuple[str, ...], max_images: int | None = None, workers: int = 0
) -> tuple[list[Finding], dict[str, dict]]:
    """Check the data sets of some dataloaders, each file once.

    Args:
        names: ``train``, ``val`` or ``test``.
        max_images: Samples of each data set that are decoded; None decodes all.
        workers: Processes that decode; 0 decodes in this one.

    Returns:
        All findings, errors first, and for the key of each data set how many ``samples`` it has
        and how many were ``checked``.

    Raises:
        UserError: A process died on a file.
    """
    found, sizes, files = [], {}, []
    results = {}  # the test set is often the validation set: read it once
    for name in names:
        for split in read_splits(config, name):
            sizes[split.key] = dict(samples=len(split.samples), checked=0)
            found += split.broken
            if split.broken:
                continue
            found += [*check_labels(split), *check_folders(split)]
            samples = split.samples
            if max_images is not None:
                samples = [samples[i] for i in spread(len(samples), max_images)]
            sizes[split.key]['checked'] = len(samples)
            known = repr((samples, split.rules, split.loader))
            if known not in results:
                results[known] = list(check_files(split, samples, workers))
                found += [finding for findings, _ in results[known] for finding in findings]
            pairs = zip(samples, results[known], strict=True)
            holds = {sample.image: content for sample, (_, content) in pairs if content}
            files += [(name, path, digest) for path, (digest, *_) in holds.items()]
            found += check_mixed({path: values for path, (_, values, _) in holds.items()})
            found += check_classes(split, [classes for _, _, classes in holds.values() if classes])
    found = [*dict.fromkeys([*found, *check_duplicates(files)])]
    return sorted(found, key=lambda f: (LEVELS.index(f.level), f.kind, f.place)), sizes


def check_files(split: Split, samples: list, workers: int) -> Iterator:
    """Yield the result of ``check_sample`` for each sample."""
    check = partial(check_sample, loader=split.loader, rules=split.rules)
    with Progress(split.key, len(samples)) as progress:
        if workers == 0:
            for sample in samples:
                yield check(sample)
                progress.step()
            return
        try:
            with ProcessPoolExecutor(workers, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
                for result in pool.map(check, samples, chunksize=8):
                    yield result
                    progress.step()
        except BrokenProcessPool:
            raise UserError(
                f'{split.key}: a process died on one of the files after {progress.done} of them '
                '(memory, or a decoder that crashed); --workers 0 shows where'
            ) from None


def report(found: list[Finding], most: int) -> None:
    """Print at most ``most`` of the sorted findings of each kind."""
    for (level, kind), group in groupby(found, key=lambda finding: (finding.level, finding.kind)):
        several = [*group]
        for finding in several[:most]:
            print(finding)
        if len(several) > most:
            print(f'{level}: {kind}: {len(several) - most} more (--out has all)')


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = config_parser('Check the files that a config reads')
    parser.add_argument('--split', choices=['train', 'val', 'test', 'all'], default='all')
    parser.add_argument('--max-images', type=positive_int, help='of each data set, spread over it')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='0: no other process')
    parser.add_argument('--show', type=int, default=20, help='lines for each kind of finding')
    parser.add_argument('--out', type=Path, help='write all findings to this JSON file')
    add_overwrite(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    refuse_existing('--out', args.out, args.overwrite)
    config = load_config(args.config, args.cfg_options)
    names = ('train', 'val', 'test') if args.split == 'all' else (args.split,)
    found, sizes = check_config_data(config, names, args.max_images, args.workers)
    if not sizes:
        raise UserError(f'{args.config} has no dataloader of {", ".join(names)}')
    report(found, args.show)
    if args.out:
        kinds = Counter(finding.kind for finding in found)
        content = dict(config=args.config, data_sets=sizes, counts=dict(kinds))
        content['findings'] = [
            dict(level=f.level, kind=f.kind, path=f.place, message=f.message) for f in found
        ]
        args.out.write_text(json.dumps(content, indent=1), encoding='utf-8')
    for key, size in sizes.items():
        print(f'{key}: {size["samples"]} samples, {size["checked"]} checked')
    counts = Counter(finding.level for finding in found)
    print(', '.join(f'{counts[level]} {level}s' for level in LEVELS))
    sys.exit(1 if counts['error'] else 0)
