"""CamVid: pre-training on crops of its own images, then segmentation with few masks."""

import hashlib
import shutil
from argparse import Namespace
from pathlib import Path

import cv2
from mmengine.config import Config

from benchmarks.evidence.bench import LOADERS, Bench

TOKENIZER_STEPS, PRETRAIN_STEPS, FINETUNE_STEPS = 400, 2_000, 400
VOID, IGNORED = 11, 255
HALF = (240, 180)  # of the images, which have 480 x 360


def half_size(bench: Bench) -> Path:
    """Return a folder with images and masks at half size, which are quicker to read."""
    folder = bench.out / 'data' / 'camvid_half'
    if folder.is_dir():
        return folder
    partly = folder.with_suffix('.partly')
    shutil.rmtree(partly, ignore_errors=True)
    for part in ('train', 'val'):
        for kind in ('images', 'annotations'):
            (partly / kind / part).mkdir(parents=True)
        for path in sorted((bench.data / 'images' / part).iterdir()):
            image = cv2.resize(cv2.imread(str(path)), HALF, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(partly / 'images' / part / f'{path.stem}.png'), image)
            name = f'annotations/{part}/{path.stem}.png'
            mask = cv2.imread(str(bench.data / name), cv2.IMREAD_UNCHANGED)
            mask = cv2.resize(mask, HALF, interpolation=cv2.INTER_NEAREST)
            mask[mask >= VOID] = IGNORED
            cv2.imwrite(str(partly / name), mask)
    partly.rename(folder)
    return folder


def tokenizer(bench: Bench) -> dict:
    config = bench.config('camvid_tokenizer')
    place(bench, config, seed=0)
    return bench.train('camvid/tokenizer-s0', config, TOKENIZER_STEPS, kind='tokenizer')


def pretrain(bench: Bench) -> dict:
    """Return the record of the pre-training, which all seeds of the fine-tuning share."""
    config = bench.config('camvid_beit')
    place(bench, config, seed=0)
    before = tokenizer(bench)
    config.model.tokenizer.init_cfg.checkpoint = bench.folder(before)
    name = f'camvid/pretrain-beit-{PRETRAIN_STEPS}-s0'
    return bench.train(name, config, PRETRAIN_STEPS, (before,), kind='pretrain', method='beit')


def segment(
    bench: Bench, start: dict | None, share: int, seed: int = 0, steps: int = FINETUNE_STEPS
) -> dict:
    """Return the record of a segmentation with the masks of some images.

    Args:
        start: Record of the pre-training; None is from scratch.
        share: Of the images of the training, in percent; ``seed`` draws them.
    """
    config = bench.config('camvid_seg')
    if start is None:
        config.model.backbone.init_cfg = None
        config.optim_wrapper.paramwise_cfg.layer_decay_rate = 1.0
    else:
        config.model.backbone.init_cfg.checkpoint = bench.folder(start)
    root = place(bench, config, seed)
    for name in LOADERS:
        part = 'train' if name == 'train_dataloader' else 'val'
        config[name].dataset.mask_root = str(root / 'annotations' / part)
    config.train_dataloader.dataset.file_list = str(image_list(bench, root, share, seed))
    origin = 'scratch' if start is None else 'beit'
    name = f'camvid/seg-{share}-{origin}-{steps}-s{seed}'
    facts = dict(kind='seg', start=origin, share=share, rate=config.optim_wrapper.optimizer.lr)
    return bench.train(name, config, steps, () if start is None else (start,), **facts)


def image_list(bench: Bench, root: Path, share: int, seed: int) -> Path:
    """Write which images have masks, and return the file."""
    names = sorted(path.name for path in (root / 'images/train').iterdir())
    names.sort(key=lambda name: hashlib.sha256(f'{seed} {name}'.encode()).digest())
    path = bench.out / 'labels' / f'camvid-{share}-s{seed}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(names[: max(round(len(names) * share / 100), 1)]) + '\n')
    return path


def place(bench: Bench, config: Config, seed: int) -> Path:
    """Set seed and folders of the images; return the folder of all."""
    root = half_size(bench)
    config.randomness.seed = seed
    for name in LOADERS:
        part = 'train' if name == 'train_dataloader' else 'val'
        config[name].dataset.data_root = str(root / 'images' / part)
    return root


def few_masks(bench: Bench, args: Namespace) -> None:
    """BEiT against scratch with few masks."""
    beit = pretrain(bench)
    for seed in args.seeds:
        for share in args.shares:
            for start in (beit, None):
                segment(bench, start, share, seed)
    for seed in args.long_seeds:
        for share in args.shares:
            for start in (beit, None):
                segment(bench, start, share, seed, steps=4 * FINETUNE_STEPS)
