"""Show the results of the quickstart as a table, pictures and a page (tools/make_report.py)."""

import argparse
import json
import random
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from beit_mm.cli.quickstart import config_of, last_checkpoint
from beit_mm.contracts import MissingFileError
from beit_mm.datasets.transforms import BlockwiseMask
from beit_mm.visualization import (
    draw_curves,
    grid,
    grid_figure,
    mask_patches,
    paste_patches,
    read_scalars,
    render_page,
    segmentation_overlay,
    to_rgb,
    to_svg,
)

PREDICTION_TITLES = ['image', 'masked', 'predicted', 'true tokens']
SEGMENTATION_TITLES = ['image', 'truth', 'pre-trained', 'scratch']
ROWS = [  # stage, key of its metrics.json, what it is
    ('tokenizer', 'tokenizer/codes_used_percent', 'tokenizer: codes used (%)'),
    ('tokenizer', 'tokenizer/perplexity', 'tokenizer: perplexity (of 256)'),
    ('tokenizer', 'tokenizer/psnr', 'tokenizer: PSNR (dB)'),
    ('pretrain', 'mim/accuracy', 'pre-training: masked-token accuracy (%)'),
    ('pretrain', 'mim/loss', 'pre-training: loss (nats)'),
    ('pretrain', 'mim/unigram_entropy', 'pre-training: loss of the best constant guess (nats)'),
    ('cls_beit', 'accuracy/top1', 'classification, pre-trained: accuracy (%)'),
    ('cls_scratch', 'accuracy/top1', 'classification, from scratch: accuracy (%)'),
    ('cls_probe', 'accuracy/top1', 'linear probe of the frozen encoder: accuracy (%)'),
    ('seg_beit', 'mIoU', 'segmentation, pre-trained: mIoU (%)'),
    ('seg_scratch', 'mIoU', 'segmentation, from scratch: mIoU (%)'),
]
Images = list[np.ndarray]


def read_metrics(run: Path) -> list[float]:
    """Return the figures of ROWS, as tools/test.py wrote them."""
    figures = []
    for stage, key, _ in ROWS:
        path = run / stage / 'metrics.json'
        if not path.is_file():
            raise MissingFileError(f'{path} is missing; run tools/quickstart.sh to its end')
        figures.append(json.loads(path.read_text())[key])
    return figures


def make_table(runs: list[Path]) -> list[list[str]]:
    """Return a row for each figure: what it is, its mean and, over several runs, its range."""
    figures = np.array([read_metrics(run) for run in runs])
    rows = []
    for (_, _, title), values in zip(ROWS, figures.T, strict=True):
        rows.append([title, f'{values.mean():.2f}'])
        if len(runs) > 1:
            rows[-1].append(f'{values.min():.2f} to {values.max():.2f} over {len(runs)} runs')
    return rows


def as_text(table: list[list[str]]) -> str:
    lines = (f'{title:54s} {value:>7s}   {"".join(rest)}' for title, value, *rest in table)
    return '\n'.join(line.rstrip() for line in lines)


def build(run: Path, stage: str) -> torch.nn.Module:
    """Return the trained model of a stage in eval mode."""
    config = config_of(stage)
    for part in (config.model.get('backbone'), config.model.get('tokenizer')):
        if part and part.get('init_cfg'):
            part.init_cfg = None
    parts = dict(data_preprocessor=config.data_preprocessor, _scope_=config.default_scope)
    model = MODELS.build(dict(config.model, **parts))
    load_checkpoint(model, str(last_checkpoint(run / stage)), map_location='cpu', strict=True)
    return model.eval()


def normalized(images: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    preprocessor = model.data_preprocessor
    return (images.float() - preprocessor.mean) / preprocessor.std


def read_val(data: Path, count: int) -> tuple[torch.Tensor, list[Path]]:
    """Return images (count, 3, H, W), uint8 RGB, and their files: some of each class in turn."""
    folders = [sorted(folder.glob('*.png')) for folder in sorted((data / 'val').iterdir())]
    turns = range(max(map(len, folders)))
    paths = [folder[turn] for turn in turns for folder in folders if turn < len(folder)][:count]
    images = [cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1) for path in paths]
    return torch.from_numpy(np.stack(images)), paths


@torch.no_grad()
def draw_reconstructions(run: Path, data: Path) -> np.ndarray:
    """Draw images, each beside what its tokens say of it."""
    images, _ = read_val(data, 20)
    samples = build(run, 'tokenizer').predict(images.float() / 255)
    pairs = torch.stack([sample[key] for sample in samples for key in ('image', 'recon')])
    pictures = list(to_rgb(pairs.numpy()))
    rows = [pictures[start : start + 8] for start in range(0, len(pictures), 8)]
    return grid(rows, titles=['image', 'tokens'] * 4, zoom=3)


@torch.no_grad()
def predict_tokens(run: Path, data: Path) -> list[Images]:
    """Return rows of PREDICTION_TITLES: masked patches are drawn from their predicted tokens."""
    images, _ = read_val(data, 10)
    model = build(run, 'pretrain')
    view = images.float() / 255
    ids = model.encode(view)
    random.seed(0)
    transform = BlockwiseMask(grid=tuple(ids.shape[1:]), num_masked=6, min_block=2)
    mask = torch.stack([torch.as_tensor(transform.transform({})['mask']) for _ in images])
    features = model.features(normalized(images, model), mask, mask)
    predicted = ids.clone()
    predicted[mask] = model.head.predict(features).argmax(-1)
    columns = (view, model.tokenizer.decode(predicted), model.tokenizer.decode(ids))
    columns = [to_rgb(column.numpy()) for column in columns]
    return [
        [image, mask_patches(image, hidden), paste_patches(image, guess, hidden), tokens]
        for image, guess, tokens, hidden in zip(*columns, mask.numpy(), strict=True)
    ]


@torch.no_grad()
def predict_classes(run: Path, data: Path) -> list[Images]:
    """Return rows of SEGMENTATION_TITLES."""
    images, paths = read_val(data, 10)
    answers = [
        [cv2.imread(str(data / 'masks' / p.relative_to(data)), cv2.IMREAD_UNCHANGED) for p in paths]
    ]
    for stage in ('seg_beit', 'seg_scratch'):
        model = build(run, stage)
        metas = [dict(ori_shape=i.shape[1:], img_shape=i.shape[1:]) for i in images]
        answers.append(model.encode_decode(normalized(images, model), metas).argmax(1).numpy())
    palette = config_of('seg_beit').metainfo['palette']
    return [
        [image, *(segmentation_overlay(image, ids, palette) for ids in masks)]
        for image, *masks in zip(images.permute(0, 2, 3, 1).numpy(), *answers, strict=True)
    ]


def two_abreast(rows: list[Images], titles: list[str]) -> np.ndarray:
    pairs = [a + b for a, b in zip(rows[::2], rows[1::2], strict=True)]
    return grid(pairs, titles=titles * 2, zoom=3)


def draw_training(run: Path) -> np.ndarray:
    return draw_curves(
        {
            'tokenizer: MSE': {'': read_scalars(run / 'tokenizer', 'loss_recon')},
            'tokenizer: codes used': {'': read_scalars(run / 'tokenizer', 'codes_used')},
            'pre-training: loss (nats)': {'': read_scalars(run / 'pretrain')},
            'classification: training loss': {
                'pre-trained': read_scalars(run / 'cls_beit'),
                'scratch': read_scalars(run / 'cls_scratch'),
            },
        },
        columns=2,
    )


def write_report(run: Path, data: Path, table: list[list[str]], figure: Path | None) -> Path:
    """Write the pictures and report.html to ``run``, and some pictures to the SVG ``figure``."""
    predicted, segmented = predict_tokens(run, data), predict_classes(run, data)
    pictures = dict(
        reconstructions=draw_reconstructions(run, data),
        predictions=two_abreast(predicted, PREDICTION_TITLES),
        segmentations=two_abreast(segmented, SEGMENTATION_TITLES),
        curves=draw_training(run),
    )
    headings = [
        'Images and what their tokens say, in turn',
        'Tokens predicted for masked patches',
        'Segmentation with 500 masks',
        'Curves',
    ]
    encoded = {}
    for heading, (name, picture) in zip(headings, pictures.items(), strict=True):
        encoded[heading] = cv2.imencode('.png', picture[..., ::-1])[1].tobytes()
        (run / f'{name}.png').write_bytes(encoded[heading])
    page = run / 'report.html'
    page.write_text(render_page('BEiT on digit scenes', table, encoded), encoding='utf-8')
    if figure is not None:
        rows = [a + b for a, b in zip(predicted, segmented, strict=True)][2:8]
        titles = PREDICTION_TITLES + SEGMENTATION_TITLES
        drawn = grid_figure(rows, titles=titles, zoom=2, breaks=[len(PREDICTION_TITLES)])
        figure.write_text(to_svg(drawn), encoding='utf-8')
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description='Report the results of tools/quickstart.py')
    parser.add_argument('runs', type=Path, nargs='+', help='work dirs of tools/quickstart.py')
    parser.add_argument('--data', type=Path, default=Path('data/digit_scenes'))
    parser.add_argument('--table', action='store_true', help='only print the table')
    parser.add_argument('--figure', type=Path, help='write predictions and masks to this SVG too')
    args = parser.parse_args()
    table = make_table(args.runs)
    page = None
    if not args.table:
        page = write_report(args.runs[0], args.data, table, args.figure)
    print(f'\n{as_text(table)}\n')
    if page is not None:
        print(f'Pictures and curves: {page} (open it in a browser)')
