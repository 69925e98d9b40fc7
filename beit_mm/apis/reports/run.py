import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from beit_mm.apis.reports.written_config import read_written
from beit_mm.checkpoints import read_description, store
from beit_mm.checkpoints.find_checkpoint import find_in_folder
from beit_mm.checkpoints.trust import is_trusted
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.contracts.config_walk import class_name, is_number
from beit_mm.visualization import curve_of, read_log

TASKS = ('tokenizer', 'pretraining', 'classification', 'segmentation', 'training')
DEEPEST = 3  # folders below one that is named
STAMP = re.compile(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', re.MULTILINE)
STEP = re.compile(STAMP.pattern + r'.* (?:Iter|Epoch)\((?:train|val)\)', re.MULTILINE)
SMALLER_IS_BETTER = re.compile(r'loss|mse|l1$|error|dead_codes')
DICTS = ('model', 'train_cfg', 'randomness', 'val_dataloader', 'train_dataloader')
LARGEST = 1e300  # figure; NaN is none either
NO_METRICS = {'images', 'time', 'data_time', 'iter', 'epoch', 'step', 'mim/variance'}


@dataclass
class Metric:
    """A figure of the validations: the last one, and the best one and its iteration."""

    name: str
    last: float
    best: float
    best_iter: int | None


@dataclass
class Run:
    """What a training has left in its work dir; parts that are missing are None or empty.

    Attributes:
        folder: The work dir.
        name: By which the page calls it.
        tested: Figures of ``metrics.json``, which tools/test.py --out writes.
        problems: What could not be read, and why.
    """

    folder: Path
    name: str
    config: Config | None = None
    text: str = ''
    log: list[dict[str, Any]] = field(default_factory=list)
    tested: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def model(self) -> Mapping[str, Any]:
        """Return the config of the model, empty where there is none."""
        return (self.config or {}).get('model') or {}

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """Return what the checkpoint says of itself, empty where it says nothing."""
        try:
            return (self.checkpoint and read_description(self.checkpoint)) or {}
        except UserError:
            return {}

    @cached_property
    def task(self) -> str:
        """Return one of TASKS."""
        kind = class_name(self.model)
        logged = {key for entry in self.log for key in entry}
        if kind == 'MaskedImageModel' or any(key.startswith('mim/') for key in logged):
            return 'pretraining'
        if self.model.get('decode_head'):
            return 'segmentation'
        if self.model.get('backbone') and self.model.get('head'):
            return 'classification'
        if kind.endswith('Tokenizer') or 'codes_used' in logged:
            return 'tokenizer'
        said = self.description.get('task')
        return said if said in TASKS else 'training'

    @property
    def is_pretrained(self) -> bool:
        """Return whether its encoder began with the weights of a file."""
        parts = [self.model, self.model.get('backbone') or {}]
        steps = []
        for part in parts:
            given = part.get('init_cfg') or []
            steps += given if isinstance(given, list | tuple) else [given]
        files = [step.get('checkpoint') for step in steps]
        files += [part.get('pretrained') for part in parts]  # as mmseg's older configs say it
        return any(files) or bool((self.config or {}).get('load_from'))

    @property
    def is_frozen(self) -> bool:
        backbone = self.model.get('backbone') or {}
        return bool(backbone.get('frozen') or backbone.get('frozen_stages', -1) > 0)

    @cached_property
    def checkpoint(self) -> Path | None:
        """Return the best checkpoint, else the last whole one."""
        try:
            return find_in_folder(self.folder)
        except UserError:
            return None

    @cached_property
    def steps(self) -> tuple[float, float | None, str]:
        """Return what was done, what was planned, and the unit ('iterations' or 'epochs')."""
        plan = (self.config or {}).get('train_cfg') or {}
        by_epoch = bool(plan.get('max_epochs'))
        found = [entry.get('epoch' if by_epoch else 'iter', 0) for entry in self.log]
        pattern = re.compile(rf'{"epoch" if by_epoch else "iter"}_(\d+)\.pth')
        earlier = store.retired(self.folder)
        files = [path.name for path in self.folder.glob('*.pth') if path.name not in earlier]
        names = map(pattern.fullmatch, files)
        found += [int(name[1]) for name in names if name]
        planned = plan.get('max_epochs') or plan.get('max_iters')
        planned = planned if is_number(planned) else None
        return max(found, default=0), planned, 'epochs' if by_epoch else 'iterations'

    @property
    def is_finished(self) -> bool:
        done, planned, _ = self.steps
        return planned is None or done >= planned

    @cached_property
    def seed(self) -> str | None:
        drawn = re.search(r'^\s+(?:numpy_random_)?seed: (\d+)$', self.text, re.MULTILINE)
        given = ((self.config or {}).get('randomness') or {}).get('seed')
        return drawn[1] if drawn else None if given is None else str(given)

    def recorded(self, key: str) -> str | None:
        """Return what RunRecordHook wrote of 'Command', 'In', 'Code' or 'Versions'."""
        found = re.findall(rf'(?:^|INFO - ){key}: (.+)$', self.text, re.MULTILINE)
        return found[-1] if found else None

    @cached_property
    def error(self) -> str | None:
        """Return the last line of a traceback that ended the training."""
        tail = self.text.rpartition('Uncaught exception')
        if not tail[1] or 'Iter(' in tail[2] or 'Epoch(' in tail[2]:
            return None
        return tail[2].strip().splitlines()[-1] if tail[2].strip() else 'unknown'

    @cached_property
    def reports_of_guards(self) -> list[str]:
        """Return what the guards of docs/health.md have written, each once."""
        parts = re.split(r'\n(?=\d{4}/\d\d/\d\d )', self.text)
        told = [part for part in parts if 'docs/health.md' in part or 'docs/tokenizers.md' in part]
        return [*dict.fromkeys(re.sub(r'^\S+ \S+ - \S+ - \w+ - ', '', part) for part in told)]

    @cached_property
    def metrics(self) -> list[Metric]:
        """Return the figures of the validations, else those that only the test has."""
        val = [entry for entry in self.log if entry['kind'] == 'val']
        names = [*dict.fromkeys(name for entry in val for name in entry)]
        found = []
        for name in names:
            steps, values = curve_of(val, name)
            if name in NO_METRICS or not any(map(math.isfinite, values)):
                continue
            sign = -1 if SMALLER_IS_BETTER.search(name) else 1
            finite = [(sign * v, -s) for s, v in zip(steps, values, strict=True) if v - v == 0]
            best, step = max(finite)
            found.append(Metric(name, values[-1], sign * best, -step))
        for name, value in self.tested.items():
            if is_number(value) and name not in NO_METRICS and name not in names:
                found.append(Metric(name, value, value, None))
        return found

    def metric(self, *names: str) -> float | None:
        """Return the figure of the test, else of the last validation, of the first name it has."""
        values = {metric.name: metric.last for metric in self.metrics} | self.tested
        return next((values[name] for name in names if name in values), None)

    def last(self, name: str) -> float | None:
        """Return the last value of a scalar of the training or validation."""
        values = curve_of(self.log, name)[1]
        return values[-1] if values else None

    @property
    def per_class(self) -> list[dict]:
        """Return what the test says of each class; empty without one."""
        rows = self.tested.get('per_class')
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    @property
    def tested_images(self) -> int | None:
        """Return how many images the test had, where it says so."""
        count = self.tested.get('images')
        return count if isinstance(count, int) and count > 0 else None

    @property
    def vocab_size(self) -> int | None:
        model = self.model
        tokenizer = model.get('tokenizer') or {}
        parts = [model, model.get('quantizer'), tokenizer, tokenizer.get('quantizer')]
        parts.append(self.description.get('tokenizer'))
        sizes = [part['vocab_size'] for part in parts if part and part.get('vocab_size')]
        used, share = (self.metric(f'tokenizer/codes_used{end}') for end in ('', '_percent'))
        return sizes[0] if sizes else round(100 * used / share) if used and share else None


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Return the runs of work dirs, and of folders whose subfolders are work dirs.

    Raises:
        MissingFileError: A folder does not exist.
        UserError: There is no work dir in it.
    """
    found: dict[Path, Path] = {}  # by the real path, so that none is there twice
    for folder in folders:
        if not folder.is_dir():
            raise MissingFileError(f'There is no folder {folder} (looked in {Path.cwd()})')
        inside = [*_work_dirs(folder, DEEPEST)]
        if not inside:
            raise UserError(
                f'{folder} is no work dir and holds none: expected scalars.jsonl, a checkpoint or '
                f'{Path("TIME", "vis_data")} in it, as a training leaves them'
            )
        for path in inside:
            found.setdefault(path.resolve(), path)
    above = os.path.commonpath([real.parent for real in found])
    runs = [read_run(path, str(real.relative_to(above))) for real, path in found.items()]
    return sorted(runs, key=lambda run: TASKS.index(run.task))


def read_run(folder: Path, name: str) -> Run:
    """Read what a training has left; what cannot be read is named in ``problems``."""
    run = Run(folder, name, log=read_log(folder))
    texts = {
        path: path.read_text(encoding='utf-8', errors='replace')
        for path in sorted([*folder.glob('*/*.log'), *folder.glob('*.log')])
        if path.is_file()  # no pipe or device, on which a foreign folder would have it wait
    }
    trained = {path: text for path, text in texts.items() if not _is_of_a_test(text)}
    texts = trained or texts
    run.text = [*texts.values()][-1] if texts else ''
    run.seconds = sum(map(_seconds, trained.values()))
    last = [*texts][-1].parent if texts else folder
    configs = [*last.glob('vis_data/config.py'), *sorted(folder.glob('*/vis_data/config.py'))[::-1]]
    configs = [path for path in [*configs, *sorted(folder.glob('*.py'))] if path.is_file()]
    try:
        if configs:
            run.config = read_written(configs[0])
            odd = [key for key in DICTS if not isinstance(run.config.get(key) or {}, Mapping)]
            if odd:
                run.config = None
                raise UserError(f'{odd[0]} is no dict')
            if is_trusted() and run.config.get('custom_imports'):
                import_modules_from_strings(**run.config.custom_imports)
    except Exception as error:  # of any kind, in a file of any kind
        run.problems.append(f'{configs[0]} cannot be read: {type(error).__name__}: {error}')
    try:
        if (folder / 'metrics.json').is_file():
            tested = json.loads((folder / 'metrics.json').read_text(encoding='utf-8'))
            steps = [time for text in trained.values() for time in STEP.findall(text)]
            if steps and str(tested.get('written', steps[-1])) < steps[-1]:
                raise UserError(f'it was written before the last step of {steps[-1]}; test again')
            run.tested = {k: v for k, v in tested.items() if not is_number(v) or abs(v) < LARGEST}
    except Exception as error:  # of any kind, as above
        run.problems.append(f'{folder / "metrics.json"} is left out: {error}')
    return run


def _work_dirs(folder: Path, depth: int) -> Iterator[Path]:
    marks = ('scalars.jsonl', 'last_checkpoint', 'metrics.json')
    is_run = any((folder / mark).is_file() for mark in marks)
    if is_run or any(folder.glob('*/vis_data')) or any(folder.glob('*.pth')):
        yield folder
    elif depth:
        with os.scandir(folder) as entries:
            inner = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
        for name in inner:
            yield from _work_dirs(folder / name, depth - 1)


def _is_of_a_test(text: str) -> bool:
    return '(test)' in text and '(train)' not in text and 'Saving checkpoint' not in text


def _seconds(text: str) -> float:
    times = STAMP.findall(text)
    if not times:
        return 0.0
    begin, end = (datetime.strptime(time, '%Y/%m/%d %H:%M:%S') for time in (times[0], times[-1]))
    return (end - begin).total_seconds()
