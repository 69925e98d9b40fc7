"""What a dataloader of a config reads, without loading any image."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.preflight.files.file_finding import FileFinding
from beit_mm.preflight.files.image_file import Loader
from beit_mm.preflight.files.mask_file import MaskRules
from beit_mm.preflight.files.sample import Sample

CROPS = dict(
    RandomCrop='crop_size',
    CenterCrop='crop_size',
    RandomResizedCrop='scale',
    TwoViewResizedCrop='size',
)
# What the errors of an empty data set say: ours, mmengine's and mmpretrain's.
EMPTY = ('no samples', 'need at least one array', 'Found 0 files')


@dataclass
class Split:
    """One data set of a dataloader.

    Attributes:
        name: train, val or test.
        key: Where it is in the config.
        roots: Folders in which the data set looks for images and for masks.
        listed: A file names the images; the data set doesn't take all that is in the folders.
        class_folders: Labels are folder names, {folder: label}.
        num_classes: None where neither the model nor the data set says it.
        broken: Why the data set could not be read; nothing else is known then.
    """

    name: str
    key: str
    samples: list[Sample] = field(default_factory=list)
    loader: Loader = field(default_factory=Loader)
    rules: MaskRules = field(default_factory=MaskRules)
    roots: list[str] = field(default_factory=list)
    mask_roots: list[str] = field(default_factory=list)
    listed: bool = False
    class_folders: dict[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    num_classes: int | None = None
    broken: list[FileFinding] = field(default_factory=list)


def read_splits(config: Config, name: str) -> list[Split]:
    """Each data set of ``{name}_dataloader``, with those inside of wrappers on their own."""
    loader = config.get(f'{name}_dataloader')
    if not loader:
        return []
    key = f'{name}_dataloader.dataset'
    scope = config.get('default_scope') or 'mmengine'
    return [_read(config, name, *leaf) for leaf in _leaves(loader['dataset'], key, scope)]


def _leaves(dataset: dict, key: str, scope: str) -> Iterator[tuple[str, str, dict]]:
    scope = dataset.get('_scope_', scope)
    if isinstance(dataset.get('dataset'), dict):
        yield from _leaves(dataset['dataset'], f'{key}.dataset', scope)
    elif isinstance(dataset.get('datasets'), (list, tuple)):
        for number, part in enumerate(dataset['datasets']):
            yield from _leaves(part, f'{key}.datasets.{number}', scope)
    else:
        yield key, scope, dataset


def _read(config: Config, name: str, key: str, scope: str, settings: dict) -> Split:
    pipeline = [t for t in settings.get('pipeline') or [] if isinstance(t, dict)]
    model = config.get('model') or {}
    split = Split(name, key, loader=_loader(pipeline, model))
    settings = {**settings, 'pipeline': []}
    try:
        with DefaultScope.overwrite_default_scope(scope):
            dataset = DATASETS.build(settings)
            infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        if not infos:
            raise ValueError(EMPTY[0])
    except Exception as error:  # of any data set that a config can name
        split.broken = list(_why_broken(key, settings, error))
        return split
    split.samples = [_sample(info) for info in infos]
    prefix = getattr(dataset, 'data_prefix', None) or {}
    split.mask_roots = [prefix['seg_map_path']] if prefix.get('seg_map_path') else []
    split.roots = [prefix.get('img_path') or getattr(dataset, 'data_root', '')]
    split.listed = bool(settings.get('file_list')) or os.path.isfile(
        getattr(dataset, 'ann_file', None) or ''
    )
    split.class_folders = {
        os.path.join(split.roots[0], folder): label
        for folder, label in getattr(dataset, 'folder_to_idx', {}).items()
    }
    classes = dataset.metainfo.get('classes')
    split.classes = None if classes is None else tuple(classes)
    known = [_of_model(model, 'num_classes'), None if classes is None else len(classes)]
    split.num_classes = min((n for n in known if n is not None), default=None)
    split.rules = _rules(pipeline, dataset, split)
    return split


def _sample(info: dict) -> Sample:
    labels = info.get('gt_label', ())
    labels = labels.tolist() if hasattr(labels, 'tolist') else labels
    labels = labels if isinstance(labels, (list, tuple)) else [labels]
    return Sample(info['img_path'], info.get('seg_map_path'), tuple(map(int, labels)))


def _loader(pipeline: list[dict], model: dict) -> Loader:
    steps = {str(step['type']).rpartition('.')[2]: step for step in pipeline}
    patch = (model.get('backbone') or {}).get('patch_size', 1)
    patch = max(patch) if isinstance(patch, (list, tuple)) else patch
    crop = None
    for name, step in ((str(s['type']).rpartition('.')[2], s) for s in pipeline):
        if name in CROPS:
            size = step.get(CROPS[name])
            crop = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        if name in CROPS or 'Resize' in name:  # after it the size is another one
            break
    if 'LoadMultiBandImage' in steps:
        given = {k: v for k, v in steps['LoadMultiBandImage'].items() if k != 'type'}
        return Loader(LoadMultiBandImage(**given), turns=False, crop=crop, patch=patch)
    step = steps.get('LoadImageFromFile', {})
    color = step.get('color_type', 'color')
    return Loader(
        backend=step.get('imdecode_backend', 'cv2'),
        eight_bit=color != 'unchanged',
        turns=color != 'unchanged' and 'ignore_orientation' not in color,
        crop=crop,
        patch=patch,
    )


def _rules(pipeline: list[dict], dataset, split: Split) -> MaskRules:
    steps = {str(step['type']).rpartition('.')[2]: step for step in pipeline}
    own = steps.get('LoadSegmentationMask')
    ignore = getattr(dataset, 'ignore_index', 255)
    reduce = getattr(dataset, 'reduce_zero_label', False)
    for step in (own, steps.get('LoadAnnotations')):
        if step and step.get('reduce_zero_label') is not None:
            reduce = step['reduce_zero_label']
    return MaskRules(
        num_classes=split.num_classes,
        ignore_index=(own or {}).get('ignore_index', ignore),
        reduce_zero_label=bool(reduce),
        label_map=getattr(dataset, 'label_map', None),
        wraps=own is None,
        turns=split.loader.turns,
    )


def _of_model(model: dict, name: str) -> int | None:
    for part in ('head', 'decode_head'):
        head = model.get(part)
        if isinstance(head, dict) and isinstance(head.get(name), int):
            return head[name]
    return None


def _why_broken(key: str, settings: dict, error: Exception) -> Iterator[FileFinding]:
    """In words, what the error of a data set is about."""
    root = settings.get('data_root') or ''
    listed = settings.get('ann_file')
    path = Path(root, listed) if listed else None
    if path is not None and not path.exists():
        message = f'{key}.ann_file: there is no such file; correct it, or data_root'
        yield FileFinding('error', 'annotations', str(path), message)
        return
    if path is not None and path.suffix == '.txt' and path.is_file():
        lines = path.read_text(encoding='utf-8').splitlines()
        if not lines:
            message = f'{key}.ann_file is empty; write one image a line, or leave it out'
            yield FileFinding('error', 'annotations', str(path), message)
            return
        wrong = list(_wrong_lines(lines)) if settings.get('with_label', True) else []
        for number, line in wrong[:20]:
            message = (
                f'line {number} is {line!r}; expected a path, a space and a label (a whole number)'
            )
            yield FileFinding('error', 'annotations', f'{path}:{number}', message)
        if wrong:
            return
    prefix = settings.get('data_prefix') or ''
    folder = prefix.get('img_path') or '' if isinstance(prefix, dict) else prefix
    folder = str(Path(root, folder))
    if not os.path.isdir(folder):
        message = f'{key}: there is no such folder (data_root and data_prefix); correct them'
        yield FileFinding('error', 'no-data', folder, message)
        return
    if any(words in str(error) for words in EMPTY):
        endings = settings.get('img_suffix') or settings.get('extensions') or 'the known endings'
        message = (
            f'{key} finds no image in it ({endings}); correct data_root, data_prefix, img_suffix '
            'or extensions'
        )
        yield FileFinding('error', 'no-data', folder, message)
        return
    yield FileFinding('error', 'no-data', folder, f'{key}: {type(error).__name__}: {error}')


def _wrong_lines(lines: list[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        path, _, label = line.strip().rpartition(' ')
        if not path or not label.lstrip('-').isdigit():
            yield number, line
