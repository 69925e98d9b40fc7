"""What is wrong with the files that a config reads: each image, mask and label, before training.

python tools/check_dataset.py CONFIG [--split train|val|test|all] [--max-images N] [--workers N]
    [--out report.json] [--cfg-options KEY=VALUE ...]

Every file is decoded whole, in several processes. What is found is named with its file and what to
do; docs/data.md explains the names. Errors end with status 1.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
import cv2  # noqa: E402
from mmengine.config import Config  # noqa: E402

from beit_mm.preflight.files import (  # noqa: E402
    FileFinding,
    Split,
    check_duplicates,
    check_folders,
    check_labels,
    check_sample,
    read_splits,
)
from beit_mm.cli.config_options import ConfigOptions  # noqa: E402
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402

LEVELS = ('error', 'warning', 'note')


class Progress:
    """How many are done and how long the rest will take; once a second, to the terminal."""

    def __init__(self, what: str, total: int):
        self.what, self.total, self.done = what, total, 0
        self.start = self.last = time.monotonic()

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.last < 1 and self.done < self.total:
            return
        self.last = now
        rate = self.done / max(now - self.start, 1e-9)
        left = int((self.total - self.done) / rate)
        end = '\r' if sys.stderr.isatty() and self.done < self.total else '\n'
        print(
            f'{self.what}: {self.done} of {self.total} files, {rate:.0f}/s, ETA '
            f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}',
            end=end,
            file=sys.stderr,
            flush=True,
        )


def check_config_data(
    config: Config, names: tuple[str, ...], max_images: int | None = None, workers: int = 0
) -> tuple[list[FileFinding], dict[str, dict]]:
    """All findings, and for each data set (by its key) how many samples it has."""
    found, sizes, files = [], {}, []
    checked = {}  # the test set is often the validation set: read it once
    for name in names:
        for split in read_splits(config, name):
            sizes[split.key] = dict(samples=len(split.samples), checked=0)
            found += split.broken
            if split.broken:
                continue
            found += [*check_labels(split), *check_folders(split)]
            samples = spread(split.samples, max_images)
            sizes[split.key]['checked'] = len(samples)
            known = repr((samples, split.rules, split.loader))
            if known not in checked:
                checked[known] = list(check_files(split, samples, workers))
                found += [finding for findings, _ in checked[known] for finding in findings]
            for sample, (_, digest) in zip(samples, checked[known], strict=True):
                if digest is not None:
                    files.append((name, sample.image, digest))
    found = [*dict.fromkeys([*found, *check_duplicates(files)])]
    return sorted(found, key=lambda f: (LEVELS.index(f.level), f.kind, f.path)), sizes


def spread(samples: list, number: int | None) -> list:
    """``number`` of them, from all over the list."""
    if number is None or number >= len(samples):
        return samples
    return [samples[i * len(samples) // number] for i in range(number)]


def check_files(split: Split, samples: list, workers: int) -> Iterator:
    """The result of ``check_sample`` for each of ``samples``."""
    check = partial(check_sample, loader=split.loader, rules=split.rules)
    progress = Progress(split.key, len(samples))
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


def report(found: list[FileFinding], most: int) -> None:
    """To the terminal: at most ``most`` of each kind."""
    shown = Counter()
    totals = Counter((finding.level, finding.kind) for finding in found)
    for finding in found:
        kind = finding.level, finding.kind
        shown[kind] += 1
        if shown[kind] <= most:
            print(finding)
        elif shown[kind] == most + 1:
            print(f'{finding.level}: {finding.kind}: {totals[kind] - most} more (--out has all)')


def main() -> None:
    parser = argparse.ArgumentParser(description='Check the files that a config reads')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--split', choices=['train', 'val', 'test', 'all'], default='all')
    parser.add_argument('--max-images', type=int, help='of each data set, spread over it')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='0: no other process')
    parser.add_argument('--show', type=int, default=20, help='lines for each kind of finding')
    parser.add_argument('--out', help='write all findings to this JSON file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='override the config'
    )
    args = parser.parse_args()
    if args.max_images is not None and args.max_images < 1:
        parser.error(f'--max-images {args.max_images}: expected 1 or more')
    config = load_config(args.config, args.cfg_options)
    names = ('train', 'val', 'test') if args.split == 'all' else (args.split,)
    found, sizes = check_config_data(config, names, args.max_images, args.workers)
    if not sizes:
        raise UserError(f'{args.config} has no dataloader of {", ".join(names)}')
    report(found, args.show)
    counts = Counter(finding.level for finding in found)
    if args.out:
        kinds = Counter(finding.kind for finding in found)
        content = dict(config=args.config, data_sets=sizes, counts=dict(kinds))
        content['findings'] = [vars(finding) for finding in found]
        Path(args.out).write_text(json.dumps(content, indent=1), encoding='utf-8')
    for key, size in sizes.items():
        print(f'{key}: {size["samples"]} samples, {size["checked"]} checked')
    print(', '.join(f'{counts[level]} {level}s' for level in LEVELS))
    sys.exit(1 if counts['error'] else 0)


if __name__ == '__main__':
    run_tool(main)
