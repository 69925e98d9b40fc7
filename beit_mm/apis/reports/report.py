"""One page about one or several trainings."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import beit_mm
from beit_mm.apis.images.find_images import find_images
from beit_mm.apis.load_model import load_model
from beit_mm.apis.model import Model
from beit_mm.apis.reports import pictures as draw
from beit_mm.apis.reports.curves import draw_run_curves
from beit_mm.apis.reports.pictures import Pictures, attempt
from beit_mm.apis.reports.run import TASKS, Run
from beit_mm.apis.reports.run_data import RunData, read_data
from beit_mm.apis.reports.verdict import Verdict, compare, in_words, judge, main_figure, next_steps
from beit_mm.checkpoints.store import write_atomically
from beit_mm.checkpoints.trust import ADVICE, is_trusted
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import leaf_dataset_configs
from beit_mm.datasets.spread import spread
from beit_mm.visualization import png_source, render_page, svg_source

SHOWN, MOST_CLASSIFIED = 6, 500  # images
MOST_ABREAST = 4  # segmentors side by side, on a phone
MOST_METRICS, MOST_REPORTS = 14, 5
HELD_OUT = ('val_dataloader', 'test_dataloader', 'train_dataloader')


class Report:
    """What there is to say of some runs; its parts are made as they are asked for.

    Args:
        images: A folder, files or patterns for the pictures, instead of the runs' own data.
        device: Where the models compute.
    """

    def __init__(self, runs: Sequence[Run], title: str, images: Any = None, device: str = 'cpu'):
        self.runs, self.title, self.device = runs, title, device
        self.given = [image for _, image in find_images(images)[0]] if images else None
        self.notes: dict[str, list[str]] = {run.name: [*run.problems] for run in runs}
        self.data: dict[str, RunData | None] = {}
        for run in runs:
            self.data[run.name], reason = read_data(run, HELD_OUT)
            if reason:
                self.notes[run.name].append(f'No data of its own: {reason}')
        sizes = {name: len(data) if data else None for name, data in self.data.items()}
        self.verdicts = {run.name: judge(run) for run in runs}
        self.compared = compare(runs, sizes)

    def sentences(self) -> list[Verdict]:
        """Return all that is said of the runs: first what they tell together."""
        of_runs = [
            Verdict(verdict.mark, f'{name}: {verdict.text}' if len(self.runs) > 1 else verdict.text)
            for name, verdicts in self.verdicts.items()
            for verdict in verdicts
        ]
        return self.compared + of_runs

    def render(self) -> str:
        """Return the page."""
        by_task = {task: [run for run in self.runs if run.task == task] for task in TASKS}
        drawn = {task: draw_run_curves(group) for task, group in by_task.items() if group}
        sections = {run.name: self.sections(run, self.models[run.name]) for run in self.runs}
        now = datetime.now().strftime('%Y-%m-%d %H:%M')
        number = f'{len(self.runs)} run{"s" * (len(self.runs) > 1)}'
        return render_page(
            title=self.title,
            subtitle=f'{number}, reported on {now} by beit_mm {beit_mm.__version__}',
            verdicts=self.sentences(),
            table=self.table() if len(self.runs) > 1 else [],
            curves={
                task.replace('pretraining', 'pre-training'): {
                    label: svg_source(figure) for label, figure in diagrams.items()
                }
                for task, diagrams in drawn.items()
                if diagrams
            },
            shared=[_embedded(section) for section in self.shared()],
            runs=[
                dict(
                    name=run.name,
                    facts=self.facts(run),
                    metrics=metrics_table(run),
                    sections=[_embedded(section) for section in sections[run.name]],
                    guards=[text[:500] for text in run.reports_of_guards[:MOST_REPORTS]],
                    notes=self.notes[run.name],
                )
                for run in self.runs
            ],
            steps=next_steps(self.runs, self.verdicts),
        )

    def write(self, path: Path) -> None:
        """Write the page."""
        write_atomically(path, self.render().encode())

    def table(self) -> list[list[str]]:
        """Return a line for each run with its main figure."""
        rows = [['run', 'main figure']]
        for run in self.runs:
            name, value = main_figure(run)
            rows.append([run.name, 'none yet' if value is None else in_words(name, value)])
        return rows

    @cached_property
    def models(self) -> dict[str, Model | None]:
        return {run.name: self.load(run) for run in self.runs}

    def load(self, run: Run) -> Model | None:
        """Return the model of a run's best or last checkpoint, or None and note why."""
        if run.checkpoint is None:
            self.notes[run.name].append('No pictures: there is no whole checkpoint yet')
            return None
        try:
            try:
                return load_model(run.checkpoint, device=self.device)
            except Exception as error:  # of an earlier version, or of classes of their own
                if run.config is None:
                    raise
                if not is_trusted():
                    raise UserError(f'{error} ({ADVICE})') from error
                return load_model(run.checkpoint, config=run.config, device=self.device)
        except Exception as error:  # the page goes on without pictures
            self.notes[run.name].append(f'No pictures: {error}')
            return None

    def images(self, run: Run, model: Model) -> tuple[list, list[int]]:
        """Return images that the model can use, and their places in the data of the run."""
        data = self.data[run.name]
        if self.given is not None:
            found = [(self.given[place], -1) for place in spread(len(self.given), SHOWN)]
        else:
            found = [(data.image(place), place) for place in (data.spread(SHOWN) if data else [])]
        kept = [(image, place) for image, place in found if _is_usable(model, image)]
        return [image for image, _ in kept], [place for _, place in kept]

    def sections(self, run: Run, model: Model | None) -> list[Pictures]:
        """Draw what fits the task of a run."""
        if model is None:
            return []
        notes, data = self.notes[run.name], self.data[run.name]
        images, places = self.images(run, model)
        found = []
        if not images:
            notes.append('No pictures: there are no images that it can use; give some by --images')
        elif model.task == 'tokenizer':
            found += attempt(notes, draw.reconstructions, model, images)
        elif model.task == 'pretraining':
            found += attempt(notes, draw.masked_predictions, model, images)
        elif model.task == 'segmentation':
            truths = self.truths(run, places)
            found += attempt(notes, draw.segmentations, {'predicted': model}, images, truths)
        if model.task == 'classification' and data is not None:
            found += attempt(notes, draw.confusion, model, data, MOST_CLASSIFIED)
        if images and model.task != 'tokenizer':
            found += attempt(notes, draw.attention, model, images)
        return found

    def truths(self, run: Run, places: Sequence[int]) -> list:
        """Return the masks of images in the data of a run, None where there is none."""
        data = self.data[run.name]
        try:
            return [data.mask(place) if data and place >= 0 else None for place in places]
        except Exception as error:  # of loaders of any kind
            self.notes[run.name].append(f'No true masks: {error}')
            return [None] * len(places)

    def shared(self) -> list[Pictures]:
        """Draw the answers of several segmentors of the same data side by side."""
        models = self.models
        runs = [r for r in self.runs if r.task == 'segmentation' and models[r.name] is not None]
        if len(runs) < 2 or len({models[run.name].in_channels for run in runs}) > 1:
            return []
        images, places = self.images(runs[0], models[runs[0].name])
        if not images:
            return []
        several = {run.name: models[run.name] for run in runs[:MOST_ABREAST]}
        truths = self.truths(runs[0], places)
        notes = self.notes[runs[0].name]
        found = attempt(notes, draw.segmentations, several, images, truths)
        return [replace(section, heading='Segmentations side by side') for section in found]

    def facts(self, run: Run) -> list[tuple[str, str, bool]]:
        """Return what was trained, on what, how long, and how."""
        done, planned, unit = run.steps
        of = f' of {planned}' if planned and done != planned else ''
        found = [
            ('Trained', what_was_trained(run), False),
            ('On', self.training_data(run), False),
            ('Length', f'{done}{of} {unit}{duration(run.seconds)}', False),
            ('Seed', run.seed, False),
            ('Command', run.recorded('Command'), True),
            ('Code', run.recorded('Code'), False),
            ('Work dir', str(run.folder), False),
        ]
        if run.checkpoint:
            kind = 'Best' if run.checkpoint.name.startswith('best_') else 'Last'
            found.append((f'{kind} checkpoint', run.checkpoint.name, False))
        return [fact for fact in found if fact[1]]

    def training_data(self, run: Run) -> str:
        parts = [*leaf_dataset_configs(run.config or {}, ('train_dataloader',))]
        roots = [str(part.config['data_root']) for part in parts if part.config.get('data_root')]
        if not parts:
            return ''
        data = read_data(run, ('train_dataloader',))[0]
        count = f'{len(data):,} images of ' if data else ''
        return f'{count}{", ".join(dict.fromkeys(roots)) or parts[0].config.get("type")}'


def what_was_trained(run: Run) -> str:
    """Return the task and the names of the parts of a model."""
    model = run.model
    kind = str(model.get('type', '')).split('.')[-1]
    names = [
        str(part.get('type', '')).split('.')[-1]
        for part in (model.get('backbone'), model.get('tokenizer'), model.get('quantizer'))
        if isinstance(part, dict)
    ]
    start = ''
    if run.task in ('classification', 'segmentation'):
        start = ', pre-trained' if run.is_pretrained else ', from scratch'
        start += ' and frozen' * run.is_frozen
    return f'{run.task}{start}: {kind}{" with " * bool(names)}{" and ".join(names)}'


def duration(seconds: float) -> str:
    if not seconds:
        return ''
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f', {hours} h {minutes} min'
    return f', {minutes} min' if seconds >= 90 else f', {seconds:.0f} s'


def metrics_table(run: Run) -> list[list[str]]:
    """Return the last and best figure of each metric."""
    rows = [['metric', 'last', 'best', 'at step']]
    for metric in run.metrics[:MOST_METRICS]:
        name = metric.name.removeprefix('tokenizer/').removeprefix('mim/').replace('_', ' ')
        step = 'test' if metric.best_iter is None else str(metric.best_iter)
        rows.append([name, f'{metric.last:.4g}', f'{metric.best:.4g}', step])
    return rows if len(rows) > 1 else []


def _is_usable(model: Model, image: Any) -> bool:
    try:
        return model.reader(find_images([image])[0])[0].error is None
    except Exception:  # of transforms that take no such image
        return False


def _embedded(section: Pictures) -> Pictures:
    rows = [[png_source(image) for image in row] for row in section.rows]
    figure = section.figure and svg_source(section.figure)
    return replace(section, rows=rows, figure=figure)
