"""Checkpoints and folders of images that a config names, and that are not there."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

from beit_mm.checkpoints.find_checkpoint import describe_neighbors
from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import DATALOADERS, leaf_dataset_configs, walk_values
from beit_mm.preflight.config.classes import find_class, package_of


def check_files(config: Config) -> Iterator[Finding]:
    """Yield an error for each checkpoint, and each folder of our data sets, that is missing."""
    for key, source in _checkpoints(config):
        path = Path(source).expanduser()
        if '://' not in source and not path.exists():
            yield Finding.error(key, f'there is no {source}{describe_neighbors(path)}')
    trains = config.get('train_cfg') is not None
    for part in leaf_dataset_configs(config, DATALOADERS[:2] if trains else DATALOADERS):
        cls = find_class(DATASETS, part.config.get('type'), part.scope)
        folder = part.config.get('data_root') if package_of(cls) == 'beit_mm' else None
        if isinstance(folder, str) and '://' not in folder:
            if not Path(folder).expanduser().exists():
                yield Finding.error(f'{part.key}.data_root', f'there is no folder {folder}')


def _checkpoints(config: Config) -> Iterator[tuple[str, str]]:
    if isinstance(config.get('load_from'), str):
        yield 'load_from', config.load_from
    for key, value in walk_values(config.get('model'), 'model'):
        if isinstance(value, Mapping) and value.get('type') == 'Pretrained':
            if isinstance(value.get('checkpoint'), str):
                yield f'{key}.checkpoint', value['checkpoint']
