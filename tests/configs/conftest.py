import logging
import os

import cv2
import numpy as np
import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer


@pytest.fixture(autouse=True)
def no_globals_left():
    """A Runner leaves its scope, logger, message hub and visualizer to whatever runs next."""
    kept = {cls: cls._instance_dict.copy() for cls in (DefaultScope, MMLogger, MessageHub)}
    yield
    for name, logger in MMLogger._instance_dict.items():
        if name not in kept[MMLogger]:
            for handler in logger.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.close()
    for cls, instances in kept.items():
        cls._instance_dict.clear()
        cls._instance_dict.update(instances)
    Visualizer._instance_dict.clear()


@pytest.fixture(autouse=True)
def quick_reports(monkeypatch):
    """What a Runner writes about the machine, and the layout of the config in its log, take longer
    than the step itself."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, False))


@pytest.fixture(scope='session')
def tree(tmp_path_factory):
    """A folder with every data set of the configs below ``data``, a few generated images each.

    ImageNet has its 1,000 class folders, as links to one image; the digit scenes and ADE20K have
    masks of the image's size.
    """
    root = tmp_path_factory.mktemp('tree')
    rng = np.random.default_rng(0)

    def image(path, height, width):
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (width, height)))

    def mask(path, height, width, classes):
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, classes, (4, 4), dtype=np.uint8)
        size = (width, height)
        cv2.imwrite(str(path), cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST))

    data = root / 'data'
    image(data / 'one.jpg', 72, 96)
    for split in ('train', 'val'):
        for number in range(1000):
            folder = data / 'imagenet' / split / f'n{number:08d}'
            folder.mkdir(parents=True)
            os.link(data / 'one.jpg', folder / f'{number}.JPEG')
    for split in ('train', 'test'):
        for name in ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse'):
            image(data / 'cifar10' / split / name / '0001.png', 32, 32)
        for name in ('ship', 'truck'):
            image(data / 'cifar10' / split / name / '0001.png', 32, 32)

    ade = data / 'ade' / 'ADEChallengeData2016'
    for split in ('training', 'validation'):
        for name in ('ADE_00000001', 'ADE_00000002'):
            image(ade / 'images' / split / f'{name}.jpg', 60, 60)
            mask(ade / 'annotations' / split / f'{name}.png', 60, 60, classes=151)

    digits = data / 'digit_scenes'
    image(digits / 'unlabelled' / '00000.png', 32, 32)
    image(digits / 'unlabelled' / '00001.png', 32, 32)
    for split in ('train', 'val'):
        for digit in range(10):
            image(digits / split / str(digit) / f'{digit:05d}.png', 32, 32)
            mask(digits / 'masks' / split / str(digit) / f'{digit:05d}.png', 32, 32, classes=11)
    (digits / 'meta').mkdir()
    for kind, line in (('train', '{0}/{0:05d}.png {0}\n'), ('seg', '{0}/{0:05d}\n')):
        text = ''.join(line.format(digit) for digit in range(10))
        for size in (100, 500, 2000, 'full'):
            (digits / 'meta' / f'{kind}_{size}.txt').write_text(text)

    for number, suffix in enumerate(('jpg', 'png', 'JPG')):
        image(data / 'my_images' / str(number) / f'holiday.{suffix}', 40 + 8 * number, 56)
    for number in range(2):
        image(data / 'my_images_val' / f'{number}.png', 40, 56 + 8 * number)
    for number in range(10):
        name = f'{number % 2}/{number}.png'
        image(data / 'my_labelled_images' / name, 60, 70)
        mask(data / 'my_masks' / name, 60, 70, classes=2)
    (data / 'my_bands').mkdir()
    for number in range(3):
        bands = rng.integers(0, 65536, (40 + 8 * number, 56, 4), dtype=np.uint16)
        np.save(data / 'my_bands' / f'{number}.npy', bands)
    return root
