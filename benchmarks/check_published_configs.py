"""Run the check before training over every config of the installed mmpretrain and mmseg.

python benchmarks/check_published_configs.py [--every 10] [--library mmseg] [--warnings]
    [--state FILE]

Each error is held against MMEngine: it has to fail at the same config. Prints the counts, and each
error that MMEngine does not confirm. With ``--state``, what was found is kept in a JSON file after
each config, and a second call goes on from there.
"""

import argparse
import contextlib
import copy
import io
import json
import logging
import time
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS, DefaultScope

from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import leaf_dataset_configs
from beit_mm.preflight.config import check_config
from beit_mm.preflight.config.structure import TOGETHER

LIBRARIES = ('mmpretrain', 'mmseg')


def published_configs(library: str) -> list[Path]:
    """Return the configs of an installed library that are no bases."""
    root = Path(import_module(library).__file__).parent / '.mim' / 'configs'
    return [path for path in sorted(root.rglob('*.py')) if '_base_' not in path.parts]


def mmengine_fails(config: Config) -> Exception | None:
    """Return the error with which MMEngine stops at a config; data and weights are not read."""
    config = copy.deepcopy(config)
    scope = config.get('default_scope') or 'mmengine'
    for group in TOGETHER:
        if len({config.get(key) is None for key in group}) > 1:
            return ValueError(f'{group} should be all None or not None')
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        try:
            for part in leaf_dataset_configs(config):
                if DATASETS.get(part.config.type) is None:
                    raise KeyError(part.config.type)
                for step in part.config.get('pipeline') or ():
                    TRANSFORMS.build(step)
            for name in ('val_evaluator', 'test_evaluator'):
                metrics = config.get(name) or []
                for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
                    METRICS.build(metric)
            for hook in config.get('custom_hooks') or ():
                if HOOKS.get(hook.type) is None:
                    raise KeyError(hook.type)
            if config.get('train_dataloader') is None:
                raise ValueError('it is not for training')
            model = MODELS.build(config.model)
            if str(config.optim_wrapper.get('type')).startswith('Amp'):
                config.optim_wrapper.type = 'OptimWrapper'
                for name in ('dtype', 'loss_scale'):
                    config.optim_wrapper.pop(name, None)
            build_optim_wrapper(model, config.optim_wrapper)
        except Exception as error:  # of any class that a config can name
            return error
    return None


def check(path: Path, counts: Counter, show: bool = False) -> list[str]:
    """Check a config, count what is found, and return the errors that MMEngine does not have."""
    counts['configs'] += 1
    try:
        config = load_config(path)
    except UserError as error:
        counts['that MMEngine cannot read'] += 1
        return [str(error)] if show else []
    found = check_config(config)
    errors = [finding for finding in found if finding.level == 'error']
    counts['with warnings'] += len(errors) < len(found)
    failed = [f for f in found if f.place.startswith('check_')]
    counts['checks that crashed'] += len(failed)
    if show:
        for finding in found:
            print(f'  {path.name}: {finding}')
    if not errors:
        return [f'{path}: {finding}' for finding in failed]
    counts['with errors'] += 1
    with contextlib.redirect_stdout(io.StringIO()):
        error = mmengine_fails(config)
    if error is not None:
        counts['with errors, where MMEngine fails too'] += 1
        if show:
            print(f'  MMEngine: {type(error).__name__}: {error}')
        return []
    counts['with errors, where MMEngine trains'] += 1
    return [f'{path}: {finding}' for finding in errors]


def check_library(library: str, args: argparse.Namespace, state: dict) -> None:
    """Check the configs of a library that ``state`` does not have yet, and add what is found."""
    paths = published_configs(library)[args.first :: args.every]
    known = state.setdefault(library, dict(done=0, seconds=0.0, counts={}, wrong=[]))
    counts = Counter(known['counts'])
    for path in paths[known['done'] :]:
        start = time.perf_counter()
        try:
            wrong = check(path, counts, args.warnings)
        except Exception as error:
            counts['crashed'] += 1
            wrong = [f'{path}: crashed: {type(error).__name__}: {error}']
        print(*wrong, sep='\n', end='\n' if wrong else '', flush=True)
        known['done'] += 1
        known['seconds'] += time.perf_counter() - start
        known['counts'] = dict(counts)
        known['wrong'] += wrong
        if args.state is not None:
            args.state.write_text(json.dumps(state, indent=1), encoding='utf-8')
    print(f'{library}: {known["counts"]} in {known["seconds"]:.0f} s', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--library', choices=LIBRARIES, nargs='+', default=LIBRARIES)
    parser.add_argument('--every', type=int, default=1, help='check one config of so many')
    parser.add_argument('--first', type=int, default=0, help='number of the first config')
    parser.add_argument('--warnings', action='store_true', help='print everything that is found')
    parser.add_argument('--state', type=Path, help='JSON with what was found, to go on from')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    known = args.state is not None and args.state.is_file()
    state = json.loads(args.state.read_text(encoding='utf-8')) if known else {}
    for library in args.library:
        check_library(library, args, state)


if __name__ == '__main__':
    main()
