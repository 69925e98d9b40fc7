"""Work dirs as trainings leave them, made without one."""

import json
from pathlib import Path

import checkpoints_of_models as made
import cv2
import numpy as np
from mmengine.config import Config

LOG = (
    '2026/01/02 10:00:00 - mmengine - INFO - \n    numpy_random_seed: 7\n    seed: 7\n'
    '2026/01/02 10:00:00 - mmengine - INFO - Command: python tools/train.py {command}\n'
    'In: {folder}\nCode: /code, git abc (clean)\nVersions: torch 2\n'
    '2026/01/02 11:12:00 - mmengine - INFO - Iter(train) [4/4]  loss: 1.0\n'
)
CLASSES = ('ant', 'bee', 'cow', 'dog')


def write_run(
    folder: Path,
    config: Config,
    entries=(),
    log=LOG,
    iters=4,
    weights=True,
    planned=4,
    command='config.py',
    metrics=None,
) -> Path:
    """Write checkpoint, config, curves and log of a training of ``iters`` steps."""
    inside = folder / '20260102_100000'
    (inside / 'vis_data').mkdir(parents=True)
    config = Config(config.to_dict() | dict(train_cfg=dict(max_iters=planned)))
    config.dump(inside / 'vis_data' / 'config.py')
    text = log.format(folder=folder.parent, command=command)
    (inside / '20260102_100000.log').write_text(text)
    if weights:
        made.saved(config, folder / f'iter_{iters}.pth')
        (folder / 'last_checkpoint').write_text(f'iter_{iters}.pth')
    lines = [json.dumps(dict(entry)) + '\n' for entry in entries]
    (folder / 'scalars.jsonl').write_text(''.join(lines))
    if metrics is not None:
        (folder / 'metrics.json').write_text(json.dumps(metrics))
    return folder


def train(iteration, **scalars) -> dict:
    return dict(kind='train', iter=iteration, **scalars)


def val(iteration, **scalars) -> dict:
    scalars = {name.replace('__', '/'): value for name, value in scalars.items()}
    return dict(kind='val', iter=iteration, **scalars)


def with_data(config: Config, **dataset) -> Config:
    """Return a config whose loaders read ``dataset`` with the pipeline that it has."""
    config = Config(config.to_dict())
    key = 'test_dataloader' if 'test_dataloader' in config else 'train_dataloader'
    pipeline = config[key].dataset.pipeline
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        config[name] = dict(dataset=dict(dataset, pipeline=pipeline))
    return config


def write_data(folder: Path) -> tuple[dict, dict, dict]:
    """Write images of four classes with masks; return configs of three data sets of them."""
    for number, name in enumerate(CLASSES):
        paths = made.write_images(folder / 'images' / name, sizes=((40, 40), (48, 40)))
        for path in paths:
            mask = np.full(cv2.imread(path).shape[:2], number % 3, np.uint8)
            goal = folder / 'masks' / Path(path).relative_to(folder / 'images')
            goal.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(goal), mask)
    root = str(folder / 'images')
    return (
        dict(type='beit_mm.UnlabelledImageFolder', data_root=root),
        dict(type='beit_mm.LabelledImageFolder', data_root=root, metainfo=dict(classes=CLASSES)),
        dict(
            type='beit_mm.SegmentationFolder',
            data_root=root,
            mask_root=str(folder / 'masks'),
            metainfo=dict(
                classes=('ground', 'tree <b>', 'sky'), palette=[[0, 0, 0], [0, 200, 0], [0, 0, 250]]
            ),
        ),
    )


def pretrained(config: Config) -> Config:
    config = Config(config.to_dict())
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    return config


def write_chain(folder: Path, data: Path) -> Path:
    """Write a tokenizer, a pre-training, and classifiers and segmentors with and without it."""
    plain, labelled, masked = write_data(data)
    used = {'codes_used': 12, 'codes_used_percent': 75.0, 'perplexity': 9.0, 'psnr': 20.0}
    tokens = {f'tokenizer__{name}': value for name, value in used.items()}
    write_run(
        folder / 'tokenizer',
        with_data(made.tokenizer(), **plain),
        [train(2, loss=0.4), train(4, loss=0.2), val(4, **tokens)],
    )
    mim = {'accuracy': 40.0, 'loss': 1.5, 'unigram_entropy': 2.5, 'gain_over_unigram': 0.4}
    write_run(
        folder / 'pretrain',
        with_data(made.pretraining(), **plain),
        [
            train(2, loss=2.0),
            train(4, loss=1.5),
            val(4, **{f'mim__{name}': value for name, value in mim.items()}),
        ],
    )
    for stage, change, scores in (
        ('beit', pretrained, (99.0, 98.0)),
        ('scratch', lambda config: config, (60.0, 50.0)),
    ):
        write_run(
            folder / f'cls_{stage}',
            change(with_data(made.classifier(), **labelled)),
            [
                val(2, accuracy__top1=scores[0]),
                train(4, loss=1.0),
                val(4, accuracy__top1=scores[1]),
            ],
        )
        write_run(
            folder / f'seg_{stage}',
            change(with_data(made.segmentor(), **masked)),
            [train(4, loss=1.0), val(4, mIoU=scores[1] / 2)],
        )
    return folder
