"""Show that a change of the code changes no training: record some steps, and compare two records.

python benchmarks/same_training.py record OUT [--checkout DIR] [--data DIR] [--steps 20]
    [--only PART]
python benchmarks/same_training.py compare BEFORE AFTER [--renamed OLD=NEW ...]
    [--optional KEY ...]

``record`` trains every config of digit scenes (with ``--only``, those with PART in their names and
those whose checkpoints they load) with the code of a checkout, by default this one. It writes
OUT/NAME/record.json: all losses and metrics of each step bit by bit, and a digest of each weight.
The data is made in OUT/data unless ``--data`` names it. What is recorded already is skipped.

``compare`` looks at the configs in both records. Weights may have other names; a figure that has
another name is given with ``--renamed``, one that either side may lack with ``--optional``. The
exit status is 1 if anything differs.
"""

import argparse
import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1]
DATA_SIZES = ['--unlabelled', '600', '--train', '2000', '--val', '100']
DATA, TOKENS = 'data/digit_scenes', 'data/digit_scenes_tokens'
CACHED = 'pretrain/beit_beit-micro-p8_digit-scenes'  # whose tokens the cached pre-training reads
TOKENIZER = 'model.tokenizer.init_cfg.checkpoint'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class FigureRecorder(Hook):
    """Keep what each training step and each validation returns as exact text."""

    def __init__(self):
        self.rows: list[dict[str, str]] = []

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        scalars = {k: torch.as_tensor(v).detach() for k, v in outputs.items()}
        self.rows.append({k: float(v).hex() for k, v in scalars.items() if v.numel() == 1})

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.rows.append({f'val/{name}': repr(value) for name, value in (metrics or {}).items()})


class Recording:
    """Records of the configs of one checkout, each in a folder of ``out``."""

    def __init__(self, checkout: Path, data: Path | None, out: Path, steps: int):
        self.checkout, self.out, self.steps = checkout.resolve(), out.resolve(), steps
        self.data = data.resolve() if data else self.out / 'data'
        self.made = data is not None

    def names(self, part: str = '') -> list[str]:
        folder = self.checkout / 'configs'
        paths = folder.glob('[!_]*/*digit-scenes*.py')
        names = sorted(path.relative_to(folder).with_suffix('').as_posix() for path in paths)
        return [name for name in names if part in name]

    def record(self, name: str) -> None:
        """Train ``name`` in a process of its own, after the configs that it depends on.

        Raises:
            SystemExit: The training fails.
        """
        work_dir = self.out / Path(name).name
        if (work_dir / 'record.json').is_file():
            return
        if not self.made:
            self.run('tools/dataset_converters/digit_scenes.py', str(self.data), *DATA_SIZES)
            self.made = True
        values = Config.fromfile(self.checkout / 'configs' / f'{name}.py').to_dict()
        values = self.relocate(values)
        self.adapt(values, work_dir)
        start = time.monotonic()
        process = multiprocessing.get_context('fork').Process(target=train, args=[values, work_dir])
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f'{name} failed; its output is above')
        print(f'{name}: {time.monotonic() - start:.0f} s', flush=True)

    def relocate(self, value: Any) -> Any:
        """Return a config whose data and checkpoints are in ``out``, and make what is missing."""
        if isinstance(value, dict):
            return {key: self.relocate(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.relocate(part) for part in value)
        if not isinstance(value, str):
            return value
        if value == TOKENS:
            return str(self.tokens())
        if value.startswith(DATA):
            return f'{self.data}{value.removeprefix(DATA)}'
        if value.startswith('work_dirs/'):
            (name,) = [n for n in self.names() if Path(n).name == Path(value).parent.name]
            self.record(name)
            return str(last_checkpoint(self.out / Path(name).name))
        return value

    def tokens(self) -> Path:
        """Return the folder of a token cache of two epochs."""
        cache = self.out / 'tokens'
        if not cache.is_dir():
            self.record(CACHED)
            config = Config.fromfile(self.checkout / f'configs/{CACHED}.py')
            tokenizer = self.relocate(config.model.tokenizer.init_cfg.checkpoint)
            options = [f'{TOKENIZER}={tokenizer}']
            options.append(f'train_dataloader.dataset.data_root={self.data / "unlabelled"}')
            command = ['tools/analysis_tools/cache_tokens.py', f'configs/{CACHED}.py', '--out']
            self.run(*command, str(cache), '--epochs', '2', '--cfg-options', *options)
        return cache

    def adapt(self, values: dict, work_dir: Path) -> None:
        values['work_dir'] = str(work_dir)
        values['log_level'] = 'WARNING'
        for scheduler in values.get('param_scheduler') or []:  # as in the whole training
            scheduler.setdefault('end', values['train_cfg']['max_iters'])
        values['train_cfg'].update(max_iters=self.steps, val_interval=self.steps)
        values.setdefault('val_cfg', {})
        values.setdefault('test_cfg', {})
        # A few steps can be too few for a vocabulary.
        if guard := values['default_hooks'].get('codebook_guard'):
            guard['action'] = 'warn'
        for loader in LOADERS:
            values[loader].update(num_workers=0, persistent_workers=False)

    def run(self, *command: str) -> None:
        command = [sys.executable, *command]
        subprocess.run(command, cwd=self.checkout, check=True, stdout=subprocess.DEVNULL)


def train(values: dict, work_dir: Path) -> None:
    """Train the config ``values`` and write record.json to ``work_dir``."""
    import beit_mm  # noqa: F401  (before mmpretrain)

    torch.set_num_threads(1)
    recorder = FigureRecorder()
    runner = Runner.from_cfg(Config(values))
    runner.register_hook(recorder, 'LOWEST')
    runner.train()
    weights = {name: digest(value) for name, value in runner.model.state_dict().items()}
    text = json.dumps(dict(rows=recorder.rows, weights=weights), indent=1)
    (work_dir / 'record.json').write_text(text + '\n')


def last_checkpoint(work_dir: Path) -> Path:
    return work_dir / Path((work_dir / 'last_checkpoint').read_text().strip()).name


def digest(tensor: torch.Tensor) -> str:
    content = tensor.detach().cpu().contiguous().numpy().tobytes()
    return f'{tuple(tensor.shape)} {tensor.dtype} {hashlib.sha256(content).hexdigest()}'


def differences(
    before: Mapping, after: Mapping, renamed: Mapping[str, str], optional: Sequence[str] = ()
) -> Iterator[str]:
    """Yield what differs between two records: the first row with another figure, and weights."""
    rows = before['rows'], after['rows']
    if len(rows[0]) != len(rows[1]):
        yield f'{len(rows[0])} and {len(rows[1])} rows'
    for number, (old, new) in enumerate(zip(*rows, strict=False)):
        old = {renamed.get(name, name): value for name, value in old.items()}
        names = dict.fromkeys([*old, *new])
        unequal = [n for n in names if old.get(n) != new.get(n)]
        unequal = [n for n in unequal if n not in optional or (n in old and n in new)]
        if unequal:
            found = (f'{n} {old.get(n)} and {new.get(n)}' for n in unequal)
            yield f'row {number}: {", ".join(found)}'
            break
    for one, other, side in ((before, after, 'before'), (after, before, 'after')):
        values = Counter(other['weights'].values())
        only = []
        for name, value in one['weights'].items():
            values[value] -= 1
            only += [name] if values[value] < 0 else []
        if only:
            yield f'weights only {side}: {", ".join(only[:4])} ({len(only)} in all)'


def compare(
    before: Path, after: Path, renamed: Mapping[str, str], optional: Sequence[str] = ()
) -> bool:
    """Print what differs between two folders of records; return whether nothing does.

    Raises:
        SystemExit: They have no config in common.
    """
    both = sorted(
        {path.parent.name for path in before.glob('*/record.json')}
        & {path.parent.name for path in after.glob('*/record.json')}
    )
    if not both:
        raise SystemExit(f'{before} and {after} have no record of the same config')
    same = True
    for name in both:
        records = (
            json.loads((side / name / 'record.json').read_text()) for side in (before, after)
        )
        found = list(differences(*records, renamed, optional))
        print(f'{name}: {"; ".join(found) or "same"}')
        same = same and not found
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    actions = parser.add_subparsers(dest='action', required=True)
    record = actions.add_parser('record', help='train some steps of every config of digit scenes')
    record.add_argument('out', type=Path)
    record.add_argument('--checkout', type=Path, default=ROOT, help='copy of this repository')
    record.add_argument('--data', type=Path, help='digit scenes; made in OUT/data by default')
    record.add_argument('--steps', type=int, default=20)
    record.add_argument('--only', default='', metavar='PART', help='of the name of a config')
    both = actions.add_parser('compare', help='compare two records')
    both.add_argument('before', type=Path)
    both.add_argument('after', type=Path)
    both.add_argument('--renamed', nargs='+', default=[], metavar='OLD=NEW', help='figures')
    both.add_argument('--optional', nargs='+', default=[], metavar='KEY', help='(new) names')
    args = parser.parse_args()
    if args.action == 'compare':
        renamed = dict(pair.split('=', 1) for pair in args.renamed)
        sys.exit(not compare(args.before, args.after, renamed, args.optional))
    sys.path.insert(0, str(args.checkout.resolve()))
    recording = Recording(args.checkout, args.data, args.out, args.steps)
    for name in recording.names(args.only):
        recording.record(name)


if __name__ == '__main__':
    main()
