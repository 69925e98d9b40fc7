"""What only a validation or test would stop at, and data sets that do not evaluate every sample."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS

from beit_mm.contracts import Finding, SampleSource
from beit_mm.contracts.config_walk import is_number, walk_dataset_configs
from beit_mm.preflight.config.classes import class_of, find_class, package_of
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.labels import metric_configs

IOU_METRICS = ('mIoU', 'mDice', 'mFscore')
SEGMENTORS = ('EncoderDecoder', 'CascadeEncoderDecoder', 'MultimodalEncoderDecoder')


def check_evaluation(config: Config) -> Iterator[Finding]:
    """Yield what MMSegmentation refuses at the end of a validation, and data sets of their kind."""
    yield from _replaced(config)
    yield from _iou_metrics(config)
    yield from _test_mode(config)


def _replaced(config: Config) -> Iterator[Finding]:
    """Find data sets of val or test that replace samples, wrapped or not."""
    for part in walk_dataset_configs(config, ('val_dataloader', 'test_dataloader')):
        cls = find_class(DATASETS, part.config.get('type'), part.scope)
        if isinstance(cls, type) and issubclass(cls, SampleSource) and cls.replaces_samples:
            yield Finding.error(
                f'{part.key}.type',
                f'{cls.__name__} puts other samples in the place of bad ones, but an evaluation '
                'needs every sample; take the data set without it, and repair what '
                'tools/check_dataset.py finds',
            )


def _iou_metrics(config: Config) -> Iterator[Finding]:
    for key, metric in metric_configs(config):
        asked, cls = metric.get('iou_metrics', []), _find(METRICS, metric, config)
        unknown = [one for one in _as_list(asked) if one not in IOU_METRICS]
        if unknown and cls == ('mmseg', 'IoUMetric') and not metric.get('format_only'):
            message = f'{asked!r}; expected some of {", ".join(IOU_METRICS)}'
            yield Finding(_level(config), f'{key}.iou_metrics', message)


def _test_mode(config: Config) -> Iterator[Finding]:
    """Check how a segmentor is told to predict whole images."""
    package, name = _find(MODELS, config.get('model'), config)
    if package != 'mmseg' or name not in SEGMENTORS:
        return
    key, level = 'model.test_cfg', _level(config)
    given, mode = value_at(config, key), value_at(config, f'{key}.mode')
    if mode not in ('slide', 'whole'):
        yield Finding(level, f'{key}.mode', f"{mode!r}; expected 'whole' or 'slide'")
    if mode != 'slide':
        return
    sides = {name: given.get(name) for name in ('crop_size', 'stride')}
    wrong = [name for name, value in sides.items() if not _is_pair(value)]
    for name in wrong:
        message = f"{sides[name]!r}; mode='slide' needs two whole numbers, (height, width)"
        yield Finding(level, f'{key}.{name}', message)
    if not wrong and any(a > b for a, b in zip(sides['stride'], sides['crop_size'], strict=True)):
        message = f'{sides["stride"]} leaves gaps between crops of crop_size={sides["crop_size"]}, '
        message += 'at which the evaluation of larger images stops; take at most crop_size'
        yield Finding.warning(f'{key}.stride', message)


def _find(registry, part, config: Config) -> tuple[str, str]:
    """Return package and name of the class of a part."""
    cls = class_of(registry, part, config.get('default_scope') or 'mmengine')
    return ('', '') if cls is None else (package_of(cls), cls.__name__)


def _level(config: Config) -> str:
    """Return the level of what an evaluation stops at: not all trainings have one."""
    loop = config.get('train_cfg') or {}
    begin, length = loop.get('val_begin', 1), loop.get('max_iters') or loop.get('max_epochs')
    late = is_number(begin) and is_number(length) and begin > length
    return 'warning' if loop and (late or config.get('val_cfg') is None) else 'error'


def _as_list(value) -> list:
    return [*value] if isinstance(value, list | tuple) else [value]


def _is_pair(value) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) == 2
    return is_list and all(type(side) is int and side > 0 for side in value)
