from collections import Counter
from collections.abc import Sized

import numpy as np
import torch.nn as nn
from mmengine.dist import master_only
from mmengine.hooks import Hook
from torch import Tensor

from beit_mm.contracts import SampleSource, UserError
from beit_mm.contracts.runner_access import model_of
from beit_mm.contracts.sample_source import class_names, leaf_datasets, walk_datasets
from beit_mm.datasets.named_errors import NamedErrors
from beit_mm.preflight.files.some_images import check_some_images
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Check that data sets fit the model, before anything is trained or evaluated.

    Every data set is checked once. It must not be empty, have labels outside of 0 to
    ``model.head.num_classes`` - 1 or more classes than that (fewer are a warning), and in an
    evaluation no other sample may take the place of a bad one. Eight images of each training set
    are read for what would go wrong in silence, such as 16 bits that the loader cuts to 8; that is
    a warning. The errors of data sets of other libraries are made to name the file (NamedErrors),
    and data sets that record something are given the work dir.

    Raises:
        UserError: What is wrong, with the first samples that are.
    """

    priority = 'VERY_HIGH'

    def __init__(self):
        self._checked: dict[str, object] = {}

    def before_train(self, runner) -> None:
        dataset = runner.train_dataloader.dataset
        self._check(runner, dataset, 'train_dataloader')
        for part in walk_datasets(dataset):
            if isinstance(part, SampleSource):
                part.record_to(runner.work_dir, runner.timestamp)
        self._check_some(runner, dataset)
        if runner.val_loop is not None:  # before the training, not at its first validation
            self.before_val(runner)

    @master_only
    def _check_some(self, runner, dataset) -> None:
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
        for part in leaf_datasets(dataset):
            pipeline = vars(part).get('pipeline')
            if callable(pipeline) and not (isinstance(part, SampleSource) and part.names_errors):
                part.pipeline = NamedErrors(pipeline)
        if isinstance(dataset, Sized) and len(dataset) == 0:
            raise UserError(
                f'{key}.dataset is empty; check its data_root, ann_file, data_prefix and suffixes'
            )
        name, num_classes = _num_classes(model_of(runner))
        if num_classes is None:
            return
        classes = class_names(dataset)
        if classes is not None and len(classes) > num_classes:
            raise UserError(
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
    for part in leaf_datasets(dataset):
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
        raise UserError(
            f'{key}.dataset has labels {found}; with {name}={num_classes} they are 0 to '
            f'{num_classes - 1}: {", ".join(examples)}. Correct them in its ann_file, or {name}'
        )


def _num_classes(model: nn.Module) -> tuple[str, int | None]:
    """Return the config key of the number of classes, and its value, of any library's model."""
    for part in ('head', 'decode_head'):
        value = getattr(getattr(model, part, None), 'num_classes', None)
        if isinstance(value, int):
            return f'model.{part}.num_classes', value
    return 'model.head.num_classes', None


def _as_list(labels) -> list:
    labels = labels.tolist() if isinstance(labels, np.ndarray | Tensor) else labels
    return list(labels) if isinstance(labels, list | tuple) else [labels]
