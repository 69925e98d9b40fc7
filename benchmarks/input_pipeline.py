"""Count the images per second and core of BEiT's input pipeline, ours beside others.

    python benchmarks/input_pipeline.py --quick
    python benchmarks/input_pipeline.py --photos FOLDER --large FOLDER --small FOLDER --json FILE

Every way reads the same files, makes both views and a mask, and collates a batch, in turn, in one
process and thread. The figures are medians over rounds, of the time that the processor was busy.
Folders that are not given are filled with drawn images, or, for --large, with enlarged --photos.

- `mmpretrain`: the pipeline of its BEiT config, in its CustomDataset
- `torchvision`: Pillow and torchvision's transforms, as unilm's and Hugging Face's examples
- `before`: ours with mmpretrain's ColorJitter
- `ours`: the shipped config, whose pixels equal Pillow's
- `fast`: resize='torch' and color_jitter in TwoViewResizedCrop, and LoadReducedImage
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from PIL import Image, ImageFilter

import beit_mm
from beit_mm.datasets import SeededDataset
from beit_mm.datasets.samplers import SeededIndex
from beit_mm.datasets.transforms import BlockwiseMask
from beit_mm.registry import DATASETS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs/_base_/datasets'
JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.4)
# Of each kind of image: name of the config, views, grid, masked patches, smallest block, jitter.
KINDS = dict(
    photos=('in1k_pretrain-224', (224, 112), 14, 75, 16, True),
    large=('in1k_pretrain-224', (224, 112), 14, 75, 16, True),
    small=('cifar10_pretrain', (32, 32), 8, 25, 4, False),
)


def ours(folder: str, kind: str, way: str) -> SeededDataset:
    """Return the shipped data set, with mmpretrain's jitter as before, or with the fast values."""
    name, (size, _), *_, jitter = KINDS[kind]
    pipeline = Config.fromfile(CONFIGS / f'{name}.py').train_pipeline
    for number, step in enumerate(pipeline):
        if step.type == 'RGBJitter' and way == 'before':
            pipeline[number] = dict(type='mmpretrain.ColorJitter', **JITTER)
        elif step.type == 'TwoViewResizedCrop' and way == 'fast':
            step.update(resize='torch', color_jitter=JITTER if jitter else None)
            pipeline[0] = dict(type='LoadReducedImage', size=size, min_scale=step.scale[0])
    if way == 'fast':
        pipeline = [step for step in pipeline if step['type'] != 'RGBJitter']
    with DefaultScope.overwrite_default_scope('beit_mm'):
        config = dict(type='UnlabelledImageFolder', data_root=folder, pipeline=pipeline)
        return SeededDataset(config)


def mmpretrain(folder: str, kind: str) -> torch.utils.data.Dataset:
    _, (size, second), grid, masked, block, jitter = KINDS[kind]
    crop = 'RandomResizedCropAndInterpolationWithTwoPic'
    scale = (0.08, 1.0) if jitter else (0.5, 1.0)
    names = dict(interpolation='bicubic', second_interpolation='lanczos' if jitter else 'bicubic')
    mask = dict(num_masking_patches=masked, max_num_patches=None, min_num_patches=block)
    pipeline = [
        dict(type='LoadImageFromFile'),
        *[dict(type='ColorJitter', **JITTER, hue=0.0)] * jitter,
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type=crop, size=size, second_size=second, scale=scale, **names),
        dict(type='BEiTMaskGenerator', input_size=(grid, grid), **mask),
        dict(type='PackInputs'),
    ]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        config = dict(type='mmpretrain.CustomDataset', data_root=folder, with_label=False)
        return DATASETS.build(dict(config, pipeline=pipeline))


class TorchvisionFolder(torch.utils.data.Dataset):
    """Both views by Pillow and torchvision, with our mask."""

    def __init__(self, folder: str, kind: str):
        from torchvision import transforms

        _, sizes, grid, masked, block, jitter = KINDS[kind]
        self.paths = sorted(map(str, Path(folder).rglob('*.*')))
        self.jitter = transforms.ColorJitter(0.4, 0.4, 0.4) if jitter else None
        self.flip = transforms.RandomHorizontalFlip()
        self.crop = transforms.RandomResizedCrop.get_params
        self.scale = (0.08, 1.0) if jitter else (0.5, 1.0)
        filters = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS if jitter else 3
        self.views = list(zip(sizes, filters, strict=True))
        self.mask = BlockwiseMask(grid, masked, min_block=block)
        self.to_tensor = transforms.PILToTensor()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple:
        with Image.open(self.paths[index]) as file:
            image = file.convert('RGB')
        image = self.flip(image if self.jitter is None else self.jitter(image))
        top, left, height, width = self.crop(image, self.scale, (3 / 4, 4 / 3))
        image = image.crop((left, top, left + width, top + height))
        views = [self.to_tensor(image.resize((size, size), by)) for size, by in self.views]
        return *views, torch.from_numpy(self.mask.sample())


def ways(folder: str, kind: str) -> dict[str, torch.utils.data.Dataset]:
    """Return the data sets that can be built here."""
    found = {}
    for name, build in (('mmpretrain', mmpretrain), ('torchvision', TorchvisionFolder)):
        try:
            found[name] = build(folder, kind)
        except (ImportError, KeyError) as error:
            print(f'without {name}: {error}')
    names = ('before', 'ours', 'fast') if KINDS[kind][-1] else ('ours', 'fast')
    if 'mmpretrain' not in found:
        names = [name for name in names if name != 'before']
    return found | {name: ours(folder, kind, name) for name in names}


def measure(folder: str, kind: str, batch: int, rounds: int) -> dict[str, float]:
    """Return the images per second of each way: medians of ``rounds``."""
    datasets = ways(folder, kind)
    rates = {name: [] for name in datasets}
    for number in range(rounds + 1):
        for name, dataset in datasets.items():
            places = [place % len(dataset) for place in range(number * batch, (number + 1) * batch)]
            random.seed(number)
            np.random.seed(number)
            begin = time.process_time()
            default_collate([dataset[SeededIndex(n, 1000 * number + n)] for n in places])
            if number > 0:  # the first one warms up
                rates[name].append(batch / (time.process_time() - begin))
    return {name: statistics.median(values) for name, values in rates.items()}


def draw(folder: Path, size: tuple[int, int], count: int) -> str:
    """Fill a folder with drawn JPEGs of ``size`` (width, height), as large as photographs are."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        shapes = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST))
        shapes = Image.fromarray(shapes).filter(ImageFilter.GaussianBlur(size[0] / 500))
        noise = generator.normal(0, 8, (size[1], size[0], 1))
        pixels = (np.asarray(shapes) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.jpg', quality=92)
    return str(folder)


def enlarge(photos: str, folder: Path, count: int) -> str:
    """Fill a folder with photographs of 4000 x 3000 pixels, with the noise of a camera."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for path in sorted(path for path in Path(photos).rglob('*') if path.is_file())[:count]:
        image = Image.open(path).convert('RGB').resize((4000, 3000), Image.Resampling.BICUBIC)
        noise = generator.normal(0, 4, (3000, 4000, 1)).astype(np.float32)
        pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{path.stem}.jpg', quality=92)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='about a minute')
    parser.add_argument('--photos', help='folder of photographs, for example of 500 x 375 pixels')
    parser.add_argument('--large', help='folder of photographs of 12 megapixels')
    parser.add_argument('--small', help='folder of images of 32 x 32 pixels')
    parser.add_argument('--rounds', type=int, default=25)
    parser.add_argument('--json', help='file for the figures')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rounds = 7 if args.quick else args.rounds
    found = dict(
        python=platform.python_version(), torch=torch.__version__, beit_mm=beit_mm.__version__
    )
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        photos = args.photos or draw(place / 'photos', (500, 375), 48)
        large = args.large or enlarge(photos, place / 'large', 6)
        small = args.small or draw(place / 'small', (32, 32), 256)
        folders = dict(photos=(photos, 32), large=(large, 2), small=(small, 256))
        for kind, (folder, batch) in folders.items():
            found[kind] = rates = measure(folder, kind, batch, rounds)
            base = rates.get('mmpretrain', rates['ours'])
            shown = (f'{name} {rate:.4g} ({rate / base:.2f}x)' for name, rate in rates.items())
            print(f'{kind}, images per second and core: ' + ', '.join(shown), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=2) + os.linesep)


if __name__ == '__main__':
    main()
