"""The images of a run, from the data sets of its config, with their labels and masks."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS

from beit_mm.apis.reports.run import Run
from beit_mm.apis.reports.safe_build import safe_build
from beit_mm.contracts.config_walk import DatasetConfig, class_name, leaf_dataset_configs
from beit_mm.datasets.image_files import check_image_file
from beit_mm.datasets.spread import spread

MASK_LOADERS = ('LoadAnnotations', 'LoadSegmentationMask')


@dataclass
class RunData:
    """A data set of a run, without its transforms.

    Attributes:
        dataset: Gives paths or arrays, and labels.
        part: Its place in the config, such as 'val_dataloader.dataset'.
        folder: To which its paths are relative.
    """

    dataset: BaseDataset
    part: DatasetConfig
    folder: str

    def __len__(self) -> int:
        return len(self.dataset)

    def spread(self, number: int) -> list[int]:
        """Return positions of at most ``number`` images, evenly spaced."""
        return spread(len(self), number)

    def image(self, index: int) -> Any:
        """Return the absolute path of an image, or its RGB array (H, W, C)."""
        info = self.dataset.get_data_info(int(index))
        return info['img'] if 'img' in info else os.path.join(self.folder, info['img_path'])

    def label(self, index: int) -> int | None:
        """Return the one class of an image, if it has one."""
        label = self.dataset.get_data_info(int(index)).get('gt_label')
        return int(label) if label is not None and np.ndim(label) == 0 else None

    def mask(self, index: int) -> np.ndarray | None:
        """Return class numbers (H, W) as the mask loader of the config reads them, if it has one.

        They are of the size of the image; 255 is no class.
        """
        steps = [s for s in self.part.config.get('pipeline', ()) if class_name(s) in MASK_LOADERS]
        info = self.dataset.get_data_info(int(index))
        if not steps or not info.get('seg_map_path'):
            return None
        info['seg_map_path'] = os.path.join(self.folder, info['seg_map_path'])
        check_image_file(info['seg_map_path'])
        return safe_build(TRANSFORMS, steps[0], self.part.scope)(info)['gt_seg_map']

    @property
    def kind(self) -> str:
        kinds = dict(train='training', val='validation')
        name = self.part.key.split('_')[0]
        return kinds.get(name, name)


def read_data(run: Run, loaders: Sequence[str]) -> tuple[RunData | None, str]:
    """Build the first data set of ``loaders`` that a run's config has.

    Returns:
        The data, and why there is none.
    """
    reason = 'its config names no data'
    for folder in dict.fromkeys([os.getcwd(), run.recorded('In') or os.getcwd()]):
        for part in leaf_dataset_configs(run.config or {}, loaders):
            try:
                with contextlib.chdir(folder):
                    data = safe_build(DATASETS, dict(part.config, pipeline=[]), part.scope)
                if len(data):
                    return RunData(data, part, folder), ''
                reason = f'{part.key} has no images'
            except Exception as error:  # of data sets of any kind: the report goes on without it
                reason = f'{part.key} cannot be read here: {error}'
    return None, reason
