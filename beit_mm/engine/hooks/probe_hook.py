import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import EMAHook, Hook
from torch import Tensor, nn

from beit_mm.contracts import TrainingState, UserError
from beit_mm.contracts.config_walk import leaf_dataset_configs
from beit_mm.contracts.runner_access import in_eval_mode, model_of, unwrap
from beit_mm.datasets.random_state import kept_random_state
from beit_mm.datasets.samplers import SeededIndex
from beit_mm.datasets.spread import spread, spread_over_classes
from beit_mm.evaluation.frozen_probes import effective_rank, probe
from beit_mm.evaluation.layer_features import layer_features
from beit_mm.registry import DATASETS, HOOKS

LEAST = 128  # images of a probe
BATCH = 50
COST = 40  # images of the training for each one of a probe, for less than 2 % of the time
MAX_ITER = 50  # of the linear probe
TITLES = dict(knn='kNN {:.1f} %', linear='linear {:.1f} %', rank='effective rank {:.1f}')


@HOOKS.register_module()
class ProbeHook(Hook, TrainingState):
    """Measure what the features of a pre-training know, before it and at equal distances in it.

    Of each layer of the backbone (without a mask, the mean of the patches) there is ``rank``, the
    effective rank of the features of some images (RankMe), and with labels ``knn`` and ``linear``,
    the accuracies in percent of nearest neighbors and of a linear probe, which learn from half of
    the images and classify the others. ``probe/knn`` and ``probe/linear`` are those of the best
    layer, ``probe/rank`` is that of the last one, and ``probe/layer2/knn`` that of the third.
    They go to the log and to all backends of the ``visualizer``.

    The first process measures; the training does not depend on it. An average of the weights
    (EMAHook) is measured in their place. In a short run there are fewer images and probes, so that
    they take less than 2 % of the time, and none in a very short one.

    Args:
        dataset: Config of a data set with a ``gt_label`` for each image, such as
            LabelledImageFolder. ``data_root`` and ``pipeline`` are by default those of the
            validation. Without it, or where it cannot be read (a warning), there is no accuracy,
            and the images are those of the validation, else of the training.
        num_images: At most, ten or more of a class; of many classes some are taken.
        num_probes: At most, beside the one before the training.

    Raises:
        UserError: The model has no backbone.
    """

    priority = 'LOW'  # after the logger and the average, before the checkpoint
    resumed = ('first',)

    def __init__(self, dataset: dict | None = None, num_images: int = 500, num_probes: int = 10):
        for name, value, least in (('num_images', num_images, 4), ('num_probes', num_probes, 1)):
            if value < least:
                raise UserError(f'ProbeHook.{name}={value}: expected at least {least}')
        self.dataset, self.num_images, self.num_probes = dataset, num_images, num_probes
        self.first: dict[str, float] = {}  # the figures before the training
        self._inputs: Tensor | None = None
        self._labels: Tensor | None = None
        self._probes, self._seconds = 0, 0.0

    def before_train(self, runner) -> None:
        if 'backbone' not in dict(model_of(runner).named_children()):
            raise UserError(
                f'ProbeHook: {type(model_of(runner)).__name__} has no backbone; it measures '
                'pre-trainings, set default_hooks=dict(probe=None)'
            )
        if get_rank() != 0:
            return
        budget = runner.max_iters * (runner.train_dataloader.batch_size or 1) // COST
        size = min(self.num_images, max(budget // (self.num_probes + 1), LEAST))
        self._probes = max(min(budget // size - 1, self.num_probes), 0)
        if self._probes == 0:
            runner.logger.info('ProbeHook: the training is too short to be probed')
            return
        self._begin = time.perf_counter()
        try:
            self._read(runner, size)
        except Exception as error:  # whatever is wrong with its images, the training goes on
            runner.logger.warning(f'ProbeHook: nothing is probed: {error}')
            self._probes = 0
        self._seconds = time.perf_counter() - self._begin
        if self._probes and runner.iter == 0:
            self._probe(runner, 0)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        before, now = (n * self._probes // runner.max_iters for n in (runner.iter, runner.iter + 1))
        if now > before:
            self._probe(runner, runner.iter + 1)

    def after_train(self, runner) -> None:
        if self._probes:
            share = 100 * self._seconds / (time.perf_counter() - self._begin)
            runner.logger.info(f'ProbeHook took {self._seconds:.1f} s, {share:.1f} % of the time')

    def _read(self, runner, size: int) -> None:
        """Keep the images, as the data preprocessor takes them, and their labels."""
        loop = runner.val_loop or runner.train_loop
        dataset, places, self._labels = loop.dataloader.dataset, None, None
        if self.dataset is not None:
            try:
                dataset, labels = labelled(self.dataset, runner.cfg)
                places = spread_over_classes(labels, size)
                classes = np.unique([labels[place] for place in places], return_inverse=True)[1]
                self._labels = torch.from_numpy(classes)
            except (UserError, OSError, KeyError) as error:
                runner.logger.warning(f'ProbeHook.dataset: there are no labels: {error}')
        places = spread(len(dataset), size) if places is None else places
        with kept_random_state(0):
            samples = [dataset[SeededIndex(place, place, 0)] for place in places]
        self._inputs = torch.stack([sample['inputs'] for sample in samples])

    def _probe(self, runner, step: int) -> None:
        start = time.perf_counter()
        try:
            self._measure(runner, step)
        except Exception as error:  # of a model of another kind, for example
            self._probes = 0
            runner.logger.warning(
                f'ProbeHook: the features of {type(model_of(runner)).__name__} cannot be measured '
                f'({type(error).__name__}: {error}), and the training goes on without; set '
                'default_hooks=dict(probe=None)'
            )
        self._seconds += time.perf_counter() - start

    def _measure(self, runner, step: int) -> None:
        model = model_of(runner)
        averages = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        averages = averages if step else []  # has no weights yet
        backbone = unwrap([*averages, model][0]).backbone
        layers = features_of(backbone, self._inputs, model.data_preprocessor)
        figures = self._figures(layers)
        self.first = self.first if step else figures
        scalars = {f'probe/{name}': value for name, value in figures.items()}
        runner.visualizer.add_scalars(dict(iter=step, **scalars), step=step)
        names = [name for name in figures if '/' not in name]
        text = f'Probe at step {step}: {in_words(figures, names)}'
        if step and self.first:
            text += f' (at step 0: {in_words(self.first, names)})'
        if self._labels is not None:
            most = 100 * self._labels.bincount().max().item() / len(self._labels)
            text += f', chance {most:.1f} %'
        gain = runner.message_hub.log_scalars.get('train/gain_over_unigram')
        if gain is not None and step:
            text += f', gain over the unigram entropy {100 * gain.current():.1f} %'
        runner.logger.info(f'{text}, docs/is_it_going_well.md')

    def _figures(self, layers: Sequence[Tensor]) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        if self._labels is not None:
            probes = [probe(part, self._labels, 1, max_iter=MAX_ITER) for part in layers]
            found = {name: [values[name][0] for values in probes] for name in ('knn', 'linear')}
        figures = {name: max(values) for name, values in found.items()}
        found['rank'] = [effective_rank(part) for part in layers]
        figures['rank'] = found['rank'][-1]
        for name, values in found.items():
            figures |= {f'layer{number}/{name}': value for number, value in enumerate(values)}
        return figures


def in_words(figures: Mapping[str, float], names: Sequence[str]) -> str:
    return ', '.join(TITLES[name].format(figures[name]) for name in names if name in figures)


def labelled(dataset: Mapping, config: Mapping) -> tuple[Any, list[int]]:
    """Build a data set of labelled images, and return it with the labels."""
    part = next(leaf_dataset_configs(config, ('val_dataloader', 'train_dataloader')))
    given = {key: part.config[key] for key in ('data_root', 'pipeline') if key in part.config}
    built = DATASETS.build(given | dataset)
    return built, [int(built.get_data_info(place)['gt_label']) for place in range(len(built))]


def features_of(backbone: nn.Module, inputs: Tensor, preprocess: nn.Module) -> list[Tensor]:
    """Return the features (N, C) of each layer, on the CPU; modes of modules are restored."""
    with in_eval_mode(backbone):
        batches = [
            layer_features(backbone, preprocess(dict(inputs=part), False)['inputs'])
            for part in inputs.split(BATCH)
        ]
    layers = zip(*batches, strict=True)
    return [torch.cat([part['mean'] for part in layer]).cpu() for layer in layers]
