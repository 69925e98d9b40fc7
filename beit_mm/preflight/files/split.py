"""The samples that a dataloader of a config reads, found without loading any image."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import (
    DatasetConfig,
    class_name,
    find_transform,
    leaf_dataset_configs,
)
from beit_mm.datasets.image_folder import read_lines
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.preflight.files.image_file import Loader, check_image, read_file
from beit_mm.preflight.files.mask_file import MaskRules, check_mask

CROPS = dict(
    RandomCrop='crop_size',
    CenterCrop='crop_size',
    RandomResizedCrop='scale',
    TwoViewResizedCrop='size',
)
# Parts of the errors of an empty data set: ours, MMEngine's and MMPretrain's.
EMPTY = ('no samples', 'need at least one array', 'Found 0 files')


@dataclass(frozen=True)
class Sample:
    """One entry of a data set: its files and labels."""

    image: str
    mask: str | None = None
    labels: tuple[float, ...] = ()


def check_sample(
    sample: Sample, loader: Loader, rules: MaskRules
) -> tuple[list[Finding], tuple[str, str, set[int]] | None]:
    """Return what is wrong, and of a readable image a hash, its values, its mask's classes."""
    content, finding = read_file(sample.image)
    if content is None:
        found, facts, holds = [finding], None, None
    else:
        found, facts = check_image(sample.image, content, loader)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        holds = digest, '' if facts is None else facts.values, set()
    if sample.mask is not None:
        wrong, classes = check_mask(sample.mask, facts, rules)
        found = [*found, *wrong]
        holds = holds and (*holds[:2], classes)
    return found, holds


@dataclass
class Split:
    """One data set of a dataloader.

    Attributes:
        name: train, val or test.
        key: Where it is in the config.
        loader, rules: How images and masks are read.
        roots, mask_roots: Folders in which the data set looks for images and masks.
        listed: A file names the images, so that there may be others in the folders.
        class_folders: {folder: label} where the folder is the label.
        classes: Their names.
        num_classes: Of model and data set, the smaller one; None if neither says it.
        broken: Why the data set could not be read; then nothing else is known.
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
    broken: list[Finding] = field(default_factory=list)


def read_splits(config: Config, name: str) -> list[Split]:
    """Return the data sets of ``{name}_dataloader``, each one inside a wrapper by itself."""
    parts = leaf_dataset_configs(config, [f'{name}_dataloader'])
    return [_read(config, name, part) for part in parts]


def _read(config: Config, name: str, part: DatasetConfig) -> Split:
    pipeline, model = part.config.get('pipeline') or [], config.get('model') or {}
    split = Split(name, part.key, loader=_loader(pipeline, model))
    settings = {**part.config, 'pipeline': []}
    try:
        with DefaultScope.overwrite_default_scope(part.scope):
            dataset = DATASETS.build(settings)
            infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        if not infos:
            raise ValueError(EMPTY[0])
    except Exception as error:  # of any data set that a config can name
        split.broken = list(_why_broken(part.key, settings, error))
        return split
    split.samples = [_sample(info) for info in infos]
    own = vars(dataset)  # of a class of another library, which may lack any of these
    prefix = own.get('data_prefix') or {}
    split.mask_roots = [prefix['seg_map_path']] if prefix.get('seg_map_path') else []
    split.roots = own.get('roots') or [prefix.get('img_path') or own.get('data_root', '')]
    split.listed = bool(settings.get('file_list')) or os.path.isfile(own.get('ann_file') or '')
    split.class_folders = {
        os.path.join(split.roots[0], folder): label
        for folder, label in own.get('folder_to_idx', {}).items()
    }
    classes = dataset.metainfo.get('classes')
    split.classes = None if classes is None else tuple(classes)
    known = [_num_classes(model), None if classes is None else len(classes)]
    split.num_classes = min((n for n in known if n is not None), default=None)
    split.rules = _rules(pipeline, own, split)
    return split


def _sample(info: dict) -> Sample:
    labels = info.get('gt_label', ())
    labels = labels.tolist() if hasattr(labels, 'tolist') else labels
    labels = labels if isinstance(labels, (list, tuple)) else [labels]
    return Sample(info['img_path'], info.get('seg_map_path'), tuple(map(float, labels)))


def _loader(pipeline: list, model: dict) -> Loader:
    patch = (model.get('backbone') or {}).get('patch_size', 1)
    patch = max(patch) if isinstance(patch, list | tuple) else patch
    crop = _find_crop(pipeline)
    if bands := find_transform(pipeline, 'LoadMultiBandImage'):
        given = {k: v for k, v in bands[1].items() if k != 'type'}
        return Loader(LoadMultiBandImage(**given), turns=False, crop=crop, patch=patch)
    step = (find_transform(pipeline, 'LoadImageFromFile') or (0, {}))[1]
    color = step.get('color_type', 'color')
    return Loader(
        backend=step.get('imdecode_backend', 'cv2'),
        eight_bit=color != 'unchanged',
        turns=color != 'unchanged' and 'ignore_orientation' not in color,
        crop=crop,
        patch=patch,
    )


def _find_crop(pipeline: list) -> tuple[int, int] | None:
    """Return (H, W) of the first crop, None if the image is resized before."""
    for step in pipeline:
        name = class_name(step)
        if name in CROPS:
            size = step.get(CROPS[name])
            return tuple(size) if isinstance(size, list | tuple) else (size, size)
        if 'Resize' in name:
            return None
    return None


def _rules(pipeline: list, dataset: dict, split: Split) -> MaskRules:
    own, mmseg = (
        (find_transform(pipeline, name) or (0, None))[1]
        for name in ('LoadSegmentationMask', 'LoadAnnotations')
    )
    reduce = dataset.get('reduce_zero_label', False)
    for step in (own, mmseg):
        if step and step.get('reduce_zero_label') is not None:
            reduce = step['reduce_zero_label']
    return MaskRules(
        num_classes=split.num_classes,
        ignore_index=(own or {}).get('ignore_index', dataset.get('ignore_index', 255)),
        reduce_zero_label=bool(reduce),
        label_map=dataset.get('label_map'),
        wraps=own is None,
        turns=split.loader.turns,
    )


def _num_classes(model: dict) -> int | None:
    for part in ('head', 'decode_head'):
        head = model.get(part)
        if isinstance(head, dict) and isinstance(head.get('num_classes'), int):
            return head['num_classes']
    return None


def _why_broken(key: str, settings: dict, error: Exception) -> Iterator[Finding]:
    """Explain the error with which a data set could not be built."""
    root = settings.get('data_root') or ''
    root = root if isinstance(root, str | os.PathLike) else next(iter(root), '')
    if settings.get('ann_file'):
        found = list(_wrong_annotations(key, Path(root, settings['ann_file']), settings))
        if found:
            yield from found
            return
    prefix = settings.get('data_prefix') or ''
    folder = prefix.get('img_path') or '' if isinstance(prefix, dict) else prefix
    folder = str(Path(root, folder))
    if not os.path.isdir(folder):
        message = f'{key}: there is no such folder (data_root and data_prefix); correct them'
    elif any(words in str(error) for words in EMPTY):
        endings = settings.get('img_suffix') or settings.get('extensions') or 'the known endings'
        message = (
            f'{key} finds no image in it ({endings}); correct data_root, data_prefix, img_suffix '
            'or extensions'
        )
    else:
        message = f'{key}: {type(error).__name__}: {error}'
    yield Finding.error(folder, message, 'no-data')


def _wrong_annotations(key: str, path: Path, settings: dict) -> Iterator[Finding]:
    if not path.exists():
        message = f'{key}.ann_file: there is no such file; correct it, or data_root'
        yield Finding.error(str(path), message, 'annotations')
    elif path.suffix == '.txt' and path.is_file():
        lines = read_lines(path)
        lines = lines[:-1] if lines and not lines[-1] else lines
        if not lines:
            message = f'{key}.ann_file is empty; write one image a line, or leave it out'
            yield Finding.error(str(path), message, 'annotations')
        wrong = list(_wrong_lines(lines)) if settings.get('with_label', True) else []
        for number, line in wrong[:20]:
            message = (
                f'line {number} is {line!r}; expected a path, a space and a label (a whole number; '
                'for names of classes, their place in metainfo.classes)'
            )
            yield Finding.error(f'{path}:{number}', message, 'annotations')


def _wrong_lines(lines: list[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        path, _, label = line.strip().rpartition(' ')
        if not path or not label.lstrip('-').isdigit():
            yield number, line
