"""Classes, labels and images: whether heads, losses, metrics and data sets agree on them."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import (
    class_name,
    entries,
    find_transform,
    leaf_dataset_configs,
    steps_of,
    walk_pipelines,
)
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.names import EVALUATORS
from beit_mm.preflight.config.parts import preprocessor_in, preprocessor_key

MASK_LOADERS = ('LoadAnnotations', 'LoadSegmentationMask')
HEADS = ('head', 'decode_head', 'auxiliary_head')
LOSSES = ('loss', 'loss_decode')
WITH_NONE = ('SideAdapterCLIPHead',)  # it has a score more, for a mask of no class
OF_EDGES = ('STDCHead',)  # its two classes are others than those of the masks
COUNTING = ('LabelSmoothLoss', 'SeesawLoss')  # of MMPretrain: they compare num_classes and scores
BACKGROUND = ('background', 'bg', '_background_', '__background__', 'void')


def check_labels(config: Config, world_size: int = 1) -> Iterator[Finding]:
    """Yield numbers of classes, weights and ignored values that differ between the parts."""
    heads = dict(_heads(config))
    yield from _topk(config, heads)
    yield from _weights(heads)
    yield from _auxiliary(heads)
    yield from _one_class(heads)
    yield from _soft_labels(config, heads)
    yield from _ignored(config, heads)
    yield from _zero_label(config)
    yield from _without_labels(config)
    yield from _sizes(config)
    yield from _norms(config, world_size)


def _heads(config: Config) -> Iterator[tuple[str, Mapping]]:
    for name in HEADS:
        for key, head in entries(value_at(config, f'model.{name}'), f'model.{name}'):
            if isinstance(head, Mapping):
                yield key, head


def metric_configs(config: Config, names=EVALUATORS) -> Iterator[tuple[str, Mapping]]:
    """Return key and config of each metric of the evaluators."""
    parts = (pair for name in names for pair in entries(config.get(name), name))
    return ((key, part) for key, part in parts if isinstance(part, Mapping))


def _topk(config: Config, heads: Mapping) -> Iterator[Finding]:
    classes = _int(heads.get('model.head', {}).get('num_classes'))
    metrics = metric_configs(config)
    asked = [(k, m.get('topk', 1)) for k, m in metrics if class_name(m) == 'Accuracy']
    if heads.get('model.head', {}).get('cal_acc') is True:
        asked.append(('model.head', heads['model.head'].get('topk', 1)))
    for key, topk in asked if classes else ():
        most = max(map(_int, topk if isinstance(topk, list | tuple) else [topk]), default=0)
        if most > classes:
            message = (
                f'{topk}, but model.head.num_classes={classes}; at most {classes} can be right'
            )
            yield Finding.error(f'{key}.topk', message)


def _weights(heads: Mapping) -> Iterator[Finding]:
    """Compare the number of classes of a loss, and of its weights, with that of the head."""
    for key, head in heads.items():
        classes = _int(head.get('num_classes'))
        for place, loss in _losses(key, head) if classes else ():
            weight, own = loss.get('class_weight'), _int(loss.get('num_classes'))
            scores = classes + (class_name(head) in WITH_NONE)
            if head.get('out_channels') == 1:
                continue  # one score for two classes: its weight is of the second
            if isinstance(weight, list | tuple) and len(weight) != scores:
                message = (
                    f'has {len(weight)} values, but {key}.num_classes={classes}; take {scores}'
                )
                yield Finding.error(f'{place}.class_weight', message)
            if own and own != classes and class_name(loss) in COUNTING:
                message = f'{own}, but {key}.num_classes={classes}; set them equal'
                yield Finding.error(f'{place}.num_classes', message)


def _losses(key: str, head: Mapping) -> Iterator[tuple[str, Mapping]]:
    for name in LOSSES:
        for place, loss in entries(head.get(name), f'{key}.{name}'):
            if isinstance(loss, Mapping):
                yield place, loss


def _one_class(heads: Mapping) -> Iterator[Finding]:
    """Find a softmax over one class, which is 1 whatever the image shows."""
    for key, head in heads.items():
        if head.get('num_classes') != 1 or head.get('out_channels', 1) != 1:
            continue
        for place, loss in _losses(key, head):
            if class_name(loss) == 'CrossEntropyLoss' and not loss.get('use_sigmoid'):
                message = f'a softmax over {key}.num_classes=1 is always 1, so that the loss is 0; '
                message += 'count what is not of the class as one too, and set 2'
                yield Finding.warning(place, message)


def _auxiliary(heads: Mapping) -> Iterator[Finding]:
    main = heads.get('model.decode_head', {})
    for key, head in heads.items():
        if class_name(head) in OF_EDGES:
            continue
        for name, default in (('num_classes', None), ('ignore_index', 255)):
            own, wanted = head.get(name, default), main.get(name, default)
            if 'auxiliary' in key and main and own != wanted and wanted is not None:
                message = f'{own}, but model.decode_head.{name}={wanted}; both see the same labels'
                yield Finding.warning(f'{key}.{name}', message)


def _soft_labels(config: Config, heads: Mapping) -> Iterator[Finding]:
    """Compare the classes of the preprocessor, which makes mixed labels, with those of the head."""
    own = (preprocessor_in(config) or {}).get('num_classes')
    classes = heads.get('model.head', {}).get('num_classes')
    if _int(own) and _int(classes) and own != classes:
        mixes = bool(value_at(config, 'model.train_cfg.augments'))
        yield Finding(
            'error' if mixes else 'warning',
            f'{preprocessor_key(config)}.num_classes',
            f'{own}, but model.head.num_classes={classes}: mixed labels have another length than '
            'the predictions; set them equal',
        )


def _ignored(config: Config, heads: Mapping) -> Iterator[Finding]:
    """Compare the value that the loss ignores with what the data and the metrics take for it."""
    main = heads.get('model.decode_head')
    if main is None or main.get('num_classes') is None:  # of depths, for example
        return
    ignored = main.get('ignore_index', 255)
    for key, value, what in _ignored_values(config, main):
        if isinstance(value, int) and value != ignored:
            message = f'{value}, but model.decode_head.ignore_index={ignored}: {what}; set them '
            yield Finding.warning(key, f'{message}equal')


def _ignored_values(config: Config, head: Mapping) -> Iterator[tuple[str, int, str]]:
    """Yield keys, their values, and what happens if the loss ignores another value."""
    padded = 'what is padded or left out counts as a class, or is none'
    settings = preprocessor_in(config) or {}
    if settings.get('type') == 'SegDataPreProcessor':
        key = f'{preprocessor_key(config)}.seg_pad_val'
        yield key, settings.get('seg_pad_val', 255), padded
    for key, pipeline in walk_pipelines(config):
        for number, step in enumerate(pipeline):
            kind, place = class_name(step), f'{key}.{number}'
            if kind == 'LoadSegmentationMask':
                yield f'{place}.ignore_index', step.get('ignore_index', 255), padded
            elif kind in ('RandomRotate', 'RandomMosaic'):
                yield f'{place}.seg_pad_val', step.get('seg_pad_val', 255), padded
            elif kind == 'Pad':
                value = step.get('pad_val')
                value = value.get('seg', 255) if isinstance(value, Mapping) else 255
                yield f'{place}.pad_val.seg', value, padded
    for part in leaf_dataset_configs(config):
        if _reduces(part.config) and find_transform(steps_of(part.config), 'LoadAnnotations'):
            what = 'the pixels of value 0, which it makes 255, count as a class, or are none'
            yield f'{part.key}.reduce_zero_label', 255, what
    for place, loss in _losses('model.decode_head', head):
        yield f'{place}.ignore_index', loss.get('ignore_index'), 'the loss takes its own'
    for key, metric in metric_configs(config):
        if class_name(metric) == 'IoUMetric':
            what = 'it judges pixels that were not learned, or leaves out some that were'
            yield f'{key}.ignore_index', metric.get('ignore_index', 255), what


def _zero_label(config: Config) -> Iterator[Finding]:
    """Compare ``reduce_zero_label`` of the data sets, and look for a background class under it."""
    first = None
    for part in leaf_dataset_configs(config):
        given = _reduces(part.config)
        own = bool(given)
        names = part.config.get('metainfo')
        classes = names.get('classes') if isinstance(names, Mapping) else None
        if own and isinstance(classes, list | tuple) and classes:
            if str(classes[0]).lower() in BACKGROUND:
                message = f'True drops value 0, but class 0 is {classes[0]!r}; set it to False'
                yield Finding.warning(f'{part.key}.reduce_zero_label', message)
        if given is None:
            continue
        if first is not None and own != first[1]:
            message = f'{own}, but {first[0]}.reduce_zero_label={first[1]}: labels are shifted by 1'
            yield Finding.warning(f'{part.key}.reduce_zero_label', message)
        first = first or (part.key, own)


def _reduces(dataset: Mapping) -> bool | None:
    """Return ``reduce_zero_label`` of a data set or its loader, None if it is not given."""
    loaders = [step for step in steps_of(dataset) if class_name(step) in MASK_LOADERS]
    given = loaders[0].get('reduce_zero_label') if loaders else None
    given = dataset.get('reduce_zero_label') if given is None else given
    return None if given is None else bool(given)


def _without_labels(config: Config) -> Iterator[Finding]:
    for loader, evaluator in (
        ('val_dataloader', 'val_evaluator'),
        ('test_dataloader', 'test_evaluator'),
    ):
        judged = any(
            class_name(metric) == 'Accuracy' for _, metric in metric_configs(config, [evaluator])
        )
        for part in leaf_dataset_configs(config, (loader,)) if judged else ():
            unlabelled = class_name(part.config) == 'UnlabelledImageFolder'
            if unlabelled or part.config.get('with_label') is False:
                message = f'has no labels, which {evaluator} needs; give it some, or leave both out'
                yield Finding.error(part.key, message)


def _sizes(config: Config) -> Iterator[Finding]:
    """Find evaluations in batches whose images keep their own proportions."""
    if (preprocessor_in(config) or {}).get('type') != 'SegDataPreProcessor':
        return
    for name in ('val_dataloader', 'test_dataloader'):
        batch = value_at(config, f'{name}.batch_size')
        for key, pipeline in walk_pipelines(config, (name,)):
            keeps = [s for s in pipeline if class_name(s) == 'Resize' and s.get('keep_ratio')]
            padded = any(class_name(step) == 'Pad' for step in pipeline)
            if keeps and not padded and (_int(batch) or 1) > 1:
                yield Finding.warning(
                    f'{name}.batch_size',
                    f'{batch}, but {key} keeps the proportions of the images: a batch of several '
                    'sizes stops the evaluation; set batch_size=1, unless all are of one size',
                )


def _norms(config: Config, world_size: int) -> Iterator[Finding]:
    """Find batch norms that may see one value per channel, which they refuse in training."""
    batch = value_at(config, 'train_dataloader.batch_size')
    scales = value_at(config, 'model.decode_head.pool_scales')
    norm = value_at(config, 'model.decode_head.norm_cfg.type')
    scales = scales if isinstance(scales, list | tuple) else []
    if batch == 1 and 1 in scales and (norm == 'BN' or (norm == 'SyncBN' and world_size == 1)):
        yield Finding.error(
            'train_dataloader.batch_size',
            f'1, but {norm} of model.decode_head has one value per channel then, where '
            'pool_scales has 1; take at least 2',
        )


def _int(value) -> int:
    """Return a positive whole number, 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
