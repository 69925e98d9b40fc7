from collections.abc import Callable, Iterator

from mmengine.dataset import Compose, InfiniteSampler
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from beit_mm.contracts import Finding, SampleSource, UserError, guarded
from beit_mm.contracts.runner_access import model_of
from beit_mm.contracts.sample_source import class_names, leaf_datasets, walk_datasets
from beit_mm.datasets.named_errors import NamedErrors
from beit_mm.datasets.value_range import WatchRange
from beit_mm.engine.loops import ResumableIterLoop
from beit_mm.preflight.files.some_images import check_some_images
from beit_mm.preflight.run.batches import check_batches, check_last_batch, check_length
from beit_mm.preflight.run.class_order import check_class_order, describe_shift
from beit_mm.preflight.run.filled import describe_filled, filled, find_limits
from beit_mm.preflight.run.labels import check_labels
from beit_mm.preflight.run.masks import check_masks
from beit_mm.preflight.run.metrics import check_metrics
from beit_mm.preflight.run.precision import check_precision
from beit_mm.preflight.run.weights import check_weights
from beit_mm.registry import HOOKS

FIRST_BATCHES = 20  # that are looked at for their range


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Check that data sets fit the model, before anything is trained or evaluated.

    Every data set is checked once. It must not be empty or give no batch, have labels outside of 0
    to ``model.head.num_classes`` - 1 or more classes than that (fewer are a warning), and in an
    evaluation no other sample may take the place of a bad one. Eight images of each training set
    are read for what would go wrong in silence, such as 16 bits that the loader cuts to 8; that is
    a warning. Training and validation have to number their classes alike, and so has a checkpoint
    that is resumed or tested; metrics that ``save_best`` names have to exist. A training that is
    shorter than its accumulation or its average of weights, has a frozen backbone with random
    weights, or a half precision that this CPU is slow in, is a warning. The errors of data sets of
    other libraries are made to name the file (NamedErrors), and data sets that record something are
    given the work dir.

    Raises:
        UserError: What is wrong, with the first samples that are.
    """

    priority = 'VERY_HIGH'

    def __init__(self):
        self._checked: dict[str, object] = {}
        self._filled: list | None = []  # the range of each of the first batches

    def before_train(self, runner) -> None:
        dataset = runner.train_dataloader.dataset
        self._check(runner, dataset, 'train_dataloader')
        for part in walk_datasets(dataset):
            if isinstance(part, SampleSource):
                part.record_to(runner.work_dir, runner.timestamp)
        self._check_some(runner, dataset)
        loader, endless = runner.train_dataloader, _is_endless(runner)
        found = [*_look(check_batches, loader, 'train_dataloader', endless)]
        if not endless:
            found += _look(check_last_batch, loader, model_of(runner))
        sets, val_loader = dict(train_dataloader=dataset), _loader_of(runner.val_loop)
        if val_loader is not None:
            self.before_val(runner)  # before the training, not at its first validation
            found += _look(check_batches, val_loader, 'val_dataloader')
            sets['val_dataloader'] = val_loader.dataset
        found += _look(check_class_order, sets)
        for check in (check_metrics, check_length, check_precision, check_weights):
            found += _look(check, runner)
        self._report(runner, found)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Look in the first batches whether the images fill the range of the tokenizer."""
        if self._filled is None:
            return
        preprocessor = model_of(runner).data_preprocessor
        span = filled(preprocessor, data_batch)
        self._filled = None if span is None else [*self._filled, span]
        last = runner.iter + 1 >= runner.max_iters
        if self._filled and (last or len(self._filled) == FIRST_BATCHES):
            lows, highs = zip(*self._filled, strict=True)
            found = describe_filled(min(lows), max(highs), preprocessor, len(lows))
            self._report(runner, [found] if found else [])
            self._filled = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare the classes of the checkpoint with those of the data set that is in use."""
        there = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes')
        trains = isinstance(runner._train_loop, BaseLoop)
        loop = runner._train_loop if trains else runner._test_loop
        loader = _loader_of(loop)
        here = None if loader is None else class_names(loader.dataset)
        if not there or not here or (trains and len(there) != len(here)):
            return
        if message := describe_shift([*there], [*here]):
            key = 'train_dataloader' if trains else 'test_dataloader'
            level = 'error' if runner._resume or not trains else 'warning'
            message = f'{message}, as the checkpoint has it'
            self._report(runner, [Finding(level, f'{key}.dataset', message)])

    def _report(self, runner, found: list[Finding]) -> None:
        """Write warnings to the log.

        Raises:
            UserError: One of ``found`` is an error.
        """
        for finding in found:
            if finding.level != 'error':
                runner.logger.warning(f'{finding.place}: {finding.message}')
        if errors := [f'{f.place} {f.message}' for f in found if f.level == 'error']:
            raise UserError('; '.join(errors))

    @master_only
    def _check_some(self, runner, dataset) -> None:
        for finding in check_some_images(dataset):
            runner.logger.warning(
                f'train_dataloader.dataset, of some images: {finding} '
                '(tools/check_dataset.py looks at all)'
            )

    def before_val(self, runner) -> None:
        if (loader := _loader_of(runner.val_loop)) is not None:
            self._check_evaluation(runner, loader.dataset, 'val_dataloader')

    def before_test(self, runner) -> None:
        if (loader := _loader_of(runner.test_loop)) is not None:
            self._check_evaluation(runner, loader.dataset, 'test_dataloader')
            self._report(runner, [*_look(check_batches, loader, 'test_dataloader')])

    def _check_evaluation(self, runner, dataset, key: str) -> None:
        for part in walk_datasets(dataset):
            if isinstance(part, SampleSource) and part.replaces_samples:
                raise UserError(
                    f'{key}.dataset has {type(part).__name__}, which puts other samples in the '
                    'place of bad ones; an evaluation needs every sample: take the data set '
                    'without it, and repair what tools/check_dataset.py finds'
                )
        self._check(runner, dataset, key)

    def _check(self, runner, dataset, key: str) -> None:
        if self._checked.get(key) is dataset:
            return
        self._checked[key] = dataset
        limits = find_limits(model_of(runner))
        for part in leaf_datasets(dataset):
            pipeline = vars(part).get('pipeline')
            steps = pipeline.transforms if limits and isinstance(pipeline, Compose) else None
            if steps and not any(isinstance(step, WatchRange) for step in steps):
                steps.insert(len(steps) - 1, WatchRange(limits))  # before the sample is packed
            if callable(pipeline) and not (isinstance(part, SampleSource) and part.names_errors):
                part.pipeline = NamedErrors(pipeline)
        for check in (check_labels, check_masks):
            self._report(runner, [*_look(check, dataset, key, model_of(runner))])


def _look(check: Callable[..., Iterator[Finding]], *args) -> Iterator[Finding]:
    """Yield what a check finds; one that fails is told and left out."""
    return guarded(check(*args), check.__name__, (UserError,))


def _loader_of(loop: BaseLoop | None) -> DataLoader | None:
    """Return the dataloader of a loop; a class of another library may have several, or none."""
    loader = None if loop is None else vars(loop).get('dataloader')
    return loader if 'dataset' in dir(loader) else None


def _is_endless(runner) -> bool:
    """Return whether the training's sampler goes on after an epoch, in full batches."""
    endless = isinstance(runner.train_dataloader.sampler, InfiniteSampler)
    return endless or isinstance(runner.train_loop, ResumableIterLoop)
