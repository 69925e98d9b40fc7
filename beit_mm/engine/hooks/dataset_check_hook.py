from collections import Counter
from collections.abc import Iterator

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from beit_mm.datasets.named_errors import NamedErrors
from beit_mm.preflight.files.some_images import check_some_images
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Before anything is trained or evaluated: do labels and classes of the data fit the model?

    It looks at every data set once: not empty, labels from 0 to
    ``model.head.num_classes`` - 1, not more classes than the head of the model has (fewer are a
    warning), no SkipBadSamples in an evaluation. It also tells SkipBadSamples where its list of
    bad samples goes, and has the errors of all data sets of files name the file (NamedErrors).
    Eight images of each training set are read for what trains in silence, 16 bits that the loader
    makes 8 of, for example; that is a warning.

    Raises:
        ValueError: What is wrong, with the first samples that are.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        dataset = runner.train_dataloader.dataset
        self._check(runner, dataset, 'train_dataloader')
        for part in _chain(dataset):
            if hasattr(type(part), 'record_to'):
                part.record_to(runner.work_dir, runner.timestamp)
        self._look_at_some(runner, dataset)
        if runner.val_loop is not None:  # before the training, not at its first validation
            self.before_val(runner)

    @master_only
    def _look_at_some(self, runner, dataset) -> None:
        for finding in check_some_images(dataset):
            runner.logger.warning(
                f'train_dataloader.dataset, of some images: {finding} '
                '(tools/check_dataset.py looks at all)'
            )

    def before_val(self, runner) -> None:
        self._check_evaluation(runner, runner.val_loop.dataloader.dataset, 'val_dataloader')

    def before_test(self, runner) -> None:
        self._check_evaluation(runner, runner.test_loop.dataloader.dataset, 'test_dataloader')

    def _check_evaluation(self, runner, dataset, key: str) -> None:
        for part in _chain(dataset):
            if hasattr(type(part), 'substitute'):
                raise ValueError(
                    f'{key}.dataset has {type(part).__name__}, which puts other samples in the '
                    'place of bad ones; an evaluation needs every sample: take the data set '
                    'without it, and repair what tools/check_dataset.py finds'
                )
        self._check(runner, dataset, key)

    def _check(self, runner, dataset, key: str) -> None:
        checked = vars(self).setdefault('_checked', {})
        if key in checked and checked[key] is dataset:
            return
        checked[key] = dataset
        for part in _leaves(dataset):
            pipeline = vars(part).get('pipeline')
            if callable(pipeline) and not getattr(type(part), 'names_errors', False):
                part.pipeline = NamedErrors(pipeline)
        if hasattr(dataset, '__len__') and len(dataset) == 0:
            raise ValueError(
                f'{key}.dataset is empty; check its data_root, ann_file, data_prefix and suffixes'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        name, num_classes = _num_classes(model)
        if num_classes is None:
            return
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if classes is not None and len(classes) > num_classes:
            raise ValueError(
                f'{key}.dataset has {len(classes)} classes, but {name}={num_classes}; set '
                f'{name}={len(classes)}, or metainfo.classes of the data set'
            )
        if classes is not None and len(classes) < num_classes:
            runner.logger.warning(
                f'{key}.dataset has {len(classes)} classes, but {name}={num_classes}: the others '
                f'are never the answer; set {name}={len(classes)} if that is not meant'
            )
        _check_labels(dataset, key, name, num_classes)


def _check_labels(dataset, key: str, name: str, num_classes: int) -> None:
    wrong, examples = Counter(), []
    for part in _leaves(dataset):
        if not hasattr(part, 'get_data_info'):
            continue
        for index in range(len(part)):
            info = part.get_data_info(index)
            if 'gt_label' not in info:
                break  # a data set has them for all samples or for none
            labels = _as_list(info['gt_label'])
            bad = [label for label in labels if not 0 <= int(label) < num_classes]
            wrong.update(bad)
            if bad and len(examples) < 3:
                examples.append(f'{info.get("img_path", f"sample {index}")} ({bad[0]})')
    if wrong:
        found = ', '.join(f'{label} ({n} samples)' for label, n in sorted(wrong.items())[:5])
        raise ValueError(
            f'{key}.dataset has labels {found}; with {name}={num_classes} they are 0 to '
            f'{num_classes - 1}: {", ".join(examples)}. Correct them in its ann_file, or {name}'
        )


def _num_classes(model) -> tuple[str, int | None]:
    """The key of the config that says it, and its value."""
    for part in ('head', 'decode_head'):
        value = getattr(getattr(model, part, None), 'num_classes', None)
        if isinstance(value, int):
            return f'model.{part}.num_classes', value
    return 'model.head.num_classes', None


def _as_list(labels) -> list:
    labels = labels.tolist() if hasattr(labels, 'tolist') else labels
    return list(labels) if isinstance(labels, list | tuple) else [labels]


def _inner(dataset) -> list:
    own = vars(dataset)
    return [*(own.get('datasets') or []), *([own['dataset']] if 'dataset' in own else [])]


def _chain(dataset) -> Iterator:
    """A data set and all that it is wrapped around."""
    yield dataset
    for part in _inner(dataset):
        yield from _chain(part)


def _leaves(dataset) -> Iterator:
    return (part for part in _chain(dataset) if not _inner(part))
