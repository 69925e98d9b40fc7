"""Draw what the model sees of a data set (tools/analysis_tools/browse_dataset.py)."""

import argparse
import math
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor

from beit_mm.apis.results.picture_names import write_png
from beit_mm.apis.results.segmentations import distinct_colors, draw_classes, legend_of
from beit_mm.cli.arguments import add_overwrite, config_parser, positive_int, refuse_existing
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import find_transform, leaf_dataset_configs
from beit_mm.datasets.random_state import kept_random_state
from beit_mm.datasets.samplers import SeededIndex
from beit_mm.datasets.spread import spread
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.visualization import class_legend, grid, mask_patches, stretched, tile, to_rgb

SIDE = 160  # pixels of a tile
WIDTH, LINES = 13, 8  # letters of a line beside a row


class Browser:
    """Draws samples of one data set of a config.

    Raises:
        UserError: The config has no such data set.
    """

    def __init__(self, config: Config, part: str):
        loader = config.get(f'{part}_dataloader')
        if loader is None:
            raise UserError(f'The config has no {part}_dataloader; take another --part')
        init_default_scope(config.get('default_scope') or 'mmengine')
        self.dataset = DATASETS.build(loader.dataset)
        leaves = [*leaf_dataset_configs(config, [f'{part}_dataloader'])]
        steps = leaves[0].config.get('pipeline', [])
        self.is_bgr = find_transform(steps, 'LoadImageFromFile') is not None  # as OpenCV has colors
        _, options = find_transform(steps, 'LoadMultiBandImage') or (0, dict(fill=0))
        self.load = LoadMultiBandImage(**{k: options[k] for k in options if k != 'type'})
        self.meta = self.dataset.metainfo
        self.names = self.meta.get('classes') or ()
        self.palette = self.meta.get('palette') or distinct_colors(len(self.names))
        self.seen: set[int] = set()  # classes of masks

    def sheet(self, number: int, seed: int) -> np.ndarray:
        """Return a picture with a row for each of ``number`` samples: what enters, what is seen."""
        rows, labels = [], []
        for place in spread(len(self.dataset), number):
            with kept_random_state(seed + place):
                sample = self.dataset[SeededIndex(place, seed + place, 0)]
            views, label = self.views(sample, self.dataset.get_data_info(place))
            rows.append([tile(view, SIDE, most=math.inf) for view in views.values()])
            lines = textwrap.wrap(label, WIDTH, max_lines=LINES, placeholder='…')
            labels.append('\n'.join(lines))
        sheet = grid(rows, titles=[*views], labels=labels if any(labels) else ())
        legend = legend_of(self.names, self.palette, self.seen)
        return class_legend(sheet, legend) if legend else sheet

    def views(self, sample: Mapping, info: Mapping) -> tuple[dict[str, np.ndarray], str]:
        """Return the pictures of a sample by their titles, and the names of its classes."""
        views = {'input': self.picture(sample['inputs'])}
        image = read_file(info.get('img_path'), self.load)
        if image is not None:
            views = {'file': image} | views
        if 'token_inputs' in sample:
            views['tokenizer'] = self.picture(sample['token_inputs'])
        if 'mask' in sample:
            views['masked'] = mask_patches(views['input'], sample['mask'].numpy())
        names = self.names
        labels = np.atleast_1d(info.get('gt_label', ()))
        truth = sample.get('data_samples')
        if truth is not None and 'gt_sem_seg' in truth:
            ids = truth.gt_sem_seg.data[0].numpy()
            views['classes'] = draw_classes(views['input'], ids, self.palette)
            labels = [int(number) for number in np.unique(ids) if number < len(names)]
            self.seen.update(labels)
        shown = [str(names[number] if number < len(names) else number) for number in labels]
        return views, ', '.join(shown)

    def picture(self, inputs: Tensor) -> np.ndarray:
        """Return an image (C, H, W) as uint8 RGB."""
        planes = inputs.numpy()
        planes = planes[::-1] if self.is_bgr and len(planes) == 3 else planes
        return draw(planes, planes.dtype == np.uint8 or self.is_bgr and planes.max() <= 255)


def read_file(path: str | os.PathLike | None, load: LoadMultiBandImage) -> np.ndarray | None:
    """Return a file as uint8 RGB, None where there is none that can be read."""
    try:
        image = load.transform(dict(img_path=str(path)))['img']
    except (UserError, FileNotFoundError):
        return None
    return draw(image.transpose(2, 0, 1), image.dtype == np.uint8)


def draw(planes: np.ndarray, is_8_bit: bool) -> np.ndarray:
    """Return an image (C, H, W) as uint8 RGB; what has not 8 bits is stretched."""
    return to_rgb((planes if is_8_bit else stretched(planes))[None].astype(np.float32), 255)[0]


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = config_parser('What the model sees of a data set')
    parser.add_argument('--part', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--number', type=positive_int, default=8, help='samples')
    parser.add_argument('--seed', type=int, default=0, help='of crops, flips and masks')
    parser.add_argument('--out', type=Path, help='the picture (default: dataset.png)')
    add_overwrite(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    refuse_existing('--out', args.out, args.overwrite)
    out = args.out or Path('dataset.png')
    config = load_config(args.config, args.cfg_options)
    write_png(out, Browser(config, args.part).sheet(args.number, args.seed), overwrite=True)
    print(out)
