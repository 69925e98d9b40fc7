"""Count the files of the package that one training batch passes through.

python benchmarks/batch_path.py [--finetune | --peer] [--checkout DIR]

The batch is one random image: loaded by the data set of the digit-scenes pre-training, collated,
preprocessed, and its loss computed. Printed are the files in the order in which they are entered,
with the functions that are called in them, and three counts: the files, their lines, and the
changes of file on calls and returns. The first step warms up and is not counted.

--finetune counts the loss of a classifier whose encoder has 12 layers with a table of relative
positions each; --peer the pre-training of mmpretrain's BEiT. --checkout names another copy of this
repository to count instead.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = 'configs/pretrain/beit_beit-micro-p8_digit-scenes.py'
FINETUNE = 'configs/classification/beit-micro-p8_scratch_ft_digit-scenes-500.py'
PEER = '.mim/configs/beit/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'


class BatchPath(NamedTuple):
    """Where a step went inside one package.

    Attributes:
        functions: File, relative to the package -> functions called in it, both in order.
        lines: Lines of these files.
        changes: How often the innermost function of the package lies in another file than before.
    """

    functions: dict[str, list[str]]
    lines: int
    changes: int

    def __str__(self) -> str:
        steps = [f'{file}: {", ".join(names)}' for file, names in self.functions.items()]
        counts = f'{len(self.functions)} files, {self.lines:,} lines, {self.changes} changes'
        return '\n'.join([*steps, counts])


def trace(step: Callable[[], Any], package: Path) -> BatchPath:
    """Run ``step`` and return its path through the files below ``package``."""
    functions: dict[str, list[str]] = {}
    stack: list[str] = []
    visits: list[str] = []  # the innermost file after each call and return

    def profile(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event not in ('call', 'return') or not path.startswith(f'{package}/'):
            return
        file = path.removeprefix(f'{package}/')
        if event == 'call':
            stack.append(file)
            names = functions.setdefault(file, [])
            if frame.f_code.co_name not in names:
                names.append(frame.f_code.co_name)
        else:
            stack.pop()
        visits.extend(stack[-1:])

    sys.setprofile(profile)
    try:
        step()
    finally:
        sys.setprofile(None)
    lines = sum(len((package / file).read_text('utf-8').splitlines()) for file in functions)
    changes = sum(a != b for a, b in zip(visits, visits[1:], strict=False))
    return BatchPath(functions, lines, changes)


def write_images(folder: Path) -> None:
    """Write two random images of 64 x 64 pixels into a class folder and an annotation file."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    (folder / 'train/0').mkdir(parents=True)
    for name in ('a.png', 'b.png'):
        image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / 'train/0' / name), image)
    (folder / 'list.txt').write_text('0/a.png 0\n0/b.png 0\n')


def make_step(config: Any, registries: Any, scope: str) -> Callable[[], Any]:
    """Build data set and model of ``config`` and return a function that computes a loss.

    Args:
        registries: Module with the registries DATASETS and MODELS.
    """
    from mmengine.dataset import default_collate
    from mmengine.registry import init_default_scope

    init_default_scope(scope)
    config.train_dataloader.dataset.setdefault('_scope_', scope)
    dataset = registries.DATASETS.build(config.train_dataloader.dataset)
    model = registries.MODELS.build(
        dict(config.model, data_preprocessor=config.data_preprocessor, _scope_=scope)
    )

    def step() -> Any:
        batch = default_collate([dataset[0]])
        return model(**model.data_preprocessor(batch, training=True), mode='loss')

    return step


def pretrain_step(root: Path, data: Path) -> Callable[[], Any]:
    """Return the step of the digit-scenes pre-training."""
    from mmengine.config import Config

    from beit_mm import registry

    config = Config.fromfile(root / PRETRAIN)
    config.train_dataloader.dataset.data_root = str(data / 'train')
    config.model.tokenizer.init_cfg = None
    return make_step(config, registry, 'beit_mm')


def finetune_step(root: Path, data: Path) -> Callable[[], Any]:
    """Return the step of the digit-scenes classifier with an encoder of 12 layers."""
    from mmengine import registry
    from mmengine.config import Config

    config = Config.fromfile(root / FINETUNE)
    config.train_dataloader.dataset.update(
        data_root=str(data), data_prefix='train', ann_file='list.txt'
    )
    config.model.backbone.arch = dict(embed_dims=128, num_layers=12, num_heads=4)
    return make_step(config, registry, config.default_scope)


def peer_step(data: Path) -> Callable[[], Any]:
    """Return the step of mmpretrain's BEiT with DALL-E's tokens, both with random weights."""
    import mmpretrain
    from mmengine.config import Config
    from mmpretrain import registry

    config = Config.fromfile(Path(mmpretrain.__file__).parent / PEER)
    config.train_dataloader.dataset.update(
        type='CustomDataset', data_root='', data_prefix=str(data / 'train'), ann_file=''
    )
    arch = dict(embed_dims=128, num_layers=4, num_heads=4, feedforward_channels=512)
    config.model.backbone.arch = arch  # as many layers as the digit scenes' encoder
    config.model.head.embed_dims = arch['embed_dims']
    config.model.target_generator.init_cfg = None
    return make_step(config, registry, 'mmpretrain')


def measure(finetune: bool = False, peer: bool = False) -> BatchPath:
    """Return the path of one batch through the package that is imported."""
    import torch

    import beit_mm  # before mmpretrain

    package = Path(beit_mm.__file__).parent
    torch.manual_seed(0)
    logging.disable(logging.WARNING)  # what each data set and each model tells about itself
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder))
            if peer:
                import mmpretrain

                package, step = Path(mmpretrain.__file__).parent, peer_step(Path(folder))
            else:
                make = finetune_step if finetune else pretrain_step
                step = make(package.parent, Path(folder))
            step()
            return trace(step, package)
    finally:
        logging.disable(logging.NOTSET)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--finetune', action='store_true', help='12 layers, a table in each')
    kind.add_argument('--peer', action='store_true', help="mmpretrain's BEiT")
    parser.add_argument('--checkout', type=Path, default=ROOT, help='copy of this repository')
    args = parser.parse_args()
    sys.path.insert(0, str(args.checkout.resolve()))
    print(measure(args.finetune, args.peer))


if __name__ == '__main__':
    main()
