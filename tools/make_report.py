"""The results of tools/quickstart.py as a table, pictures and one self-contained page.

python tools/make_report.py work_dirs/quickstart [--data data/digit_scenes] [--figure FILE.svg]
python tools/make_report.py --table work_dirs/quickstart work_dirs/quickstart_seed1 ...

The second form prints mean and range over several runs.
"""

import argparse
import base64
import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.registry import MODELS, DefaultScope, init_default_scope  # noqa: E402
from mmengine.runner import load_checkpoint  # noqa: E402

from beit_mm.datasets.transforms import BlockwiseMask  # noqa: E402
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.visualization import (  # noqa: E402
    draw_curves,
    grid,
    mask_patches,
    paste_patches,
    read_scalars,
    segmentation_overlay,
    svg_grid,
)
from quickstart import TRAININGS, last_checkpoint  # noqa: E402

PREDICTION_TITLES = ['image', 'masked', 'predicted', 'true tokens']
SEGMENTATION_TITLES = ['image', 'truth', 'pre-trained', 'scratch']
ROWS = [  # stage, key of its metrics.json, what it is
    ('tokenizer', 'tokenizer/codes_used_percent', 'tokenizer: codes used (%)'),
    ('tokenizer', 'tokenizer/perplexity', 'tokenizer: perplexity (of 256)'),
    ('tokenizer', 'tokenizer/psnr', 'tokenizer: PSNR (dB)'),
    ('pretrain', 'mim/accuracy', 'pre-training: masked-token accuracy (%)'),
    ('pretrain', 'mim/loss', 'pre-training: loss (nats)'),
    ('pretrain', 'mim/chance', 'pre-training: loss of the best constant guess (nats)'),
    ('cls_beit', 'accuracy/top1', 'classification, pre-trained: accuracy (%)'),
    ('cls_scratch', 'accuracy/top1', 'classification, from scratch: accuracy (%)'),
    ('cls_probe', 'accuracy/top1', 'linear probe of the frozen encoder: accuracy (%)'),
    ('seg_beit', 'mIoU', 'segmentation, pre-trained: mIoU (%)'),
    ('seg_scratch', 'mIoU', 'segmentation, from scratch: mIoU (%)'),
]


def read_metrics(run: Path) -> list[float]:
    """The figures of ROWS, as tools/test.py wrote them."""
    figures = []
    for stage, key, _ in ROWS:
        path = run / stage / 'metrics.json'
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing; run tools/quickstart.sh to its end')
        figures.append(json.loads(path.read_text())[key])
    return figures


def table(runs: list[Path]) -> str:
    figures = np.array([read_metrics(run) for run in runs])
    lines = []
    for (_, _, title), values in zip(ROWS, figures.T, strict=True):
        line = f'{title:54s} {values.mean():7.2f}'
        if len(runs) > 1:
            line += f'   {values.min():.2f} to {values.max():.2f} over {len(runs)} runs'
        lines.append(line)
    return '\n'.join(lines)


def build(run: Path, stage: str):
    """The trained model of a stage, in eval mode, built in the scope of its config."""
    name = next(config for title, config, _ in TRAININGS if title == stage)
    config = load_config(ROOT / 'configs' / name)
    DefaultScope._instance_dict.clear()
    init_default_scope(config.default_scope)
    for part in (config.model.get('backbone'), config.model.get('tokenizer')):
        if part and part.get('init_cfg'):
            part.init_cfg = None
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    load_checkpoint(model, str(last_checkpoint(run / stage)), map_location='cpu', strict=True)
    return model.eval()


def read_val(data: Path, count: int) -> tuple[torch.Tensor, list[Path]]:
    """(count, 3, H, W) uint8 RGB: the first of each class by turns."""
    folders = [sorted(folder.glob('*.png')) for folder in sorted((data / 'val').iterdir())]
    turns = range(max(map(len, folders)))
    paths = [folder[turn] for turn in turns for folder in folders if turn < len(folder)][:count]
    images = [cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1) for path in paths]
    return torch.from_numpy(np.stack(images)), paths


def pictures_of(images: torch.Tensor) -> list[np.ndarray]:
    """(B, 3, H, W) in [0, 1] -> uint8 RGB arrays."""
    return list((images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())


@torch.no_grad()
def reconstructions(run: Path, data: Path) -> np.ndarray:
    images, _ = read_val(data, 20)
    samples = build(run, 'tokenizer').predict(images.float() / 255)
    pairs = zip(
        pictures_of(torch.stack([s['image'] for s in samples])),
        pictures_of(torch.stack([s['recon'] for s in samples])),
        strict=True,
    )
    flat = [picture for pair in pairs for picture in pair]
    rows = [flat[start : start + 8] for start in range(0, len(flat), 8)]
    return grid(rows, ['image', 'tokens'] * 4, zoom=3)


@torch.no_grad()
def predictions(run: Path, data: Path) -> list[list[np.ndarray]]:
    """Image | masked | masked patches drawn from predicted tokens | the image's own tokens."""
    images, _ = read_val(data, 10)
    model = build(run, 'pretrain')
    view = images.float() / 255
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    ids = model.encode(view)
    random.seed(0)
    transform = BlockwiseMask(grid=tuple(ids.shape[1:]), num_masked=6, min_block=2)
    mask = torch.stack([torch.as_tensor(transform.transform({})['mask']) for _ in images])
    feats = model.neck(model.backbone((images.float() - mean) / std, mask), mask)
    predicted = ids.clone()
    predicted[mask] = model.head.predict(feats).argmax(-1)
    drawn = pictures_of(model.tokenizer.decode(predicted))
    true = pictures_of(model.tokenizer.decode(ids))
    rows = []
    for original, one_mask, guess, tokens in zip(
        pictures_of(view), mask.numpy(), drawn, true, strict=True
    ):
        hidden = mask_patches(original, one_mask)
        rows.append([original, hidden, paste_patches(original, guess, one_mask), tokens])
    return rows


@torch.no_grad()
def segmentations(run: Path, data: Path) -> list[list[np.ndarray]]:
    """Image | true classes | predicted after pre-training | predicted from scratch."""
    images, paths = read_val(data, 10)
    truths = [
        cv2.imread(str(data / 'masks' / p.relative_to(data)), cv2.IMREAD_UNCHANGED) for p in paths
    ]
    columns = [pictures_of(images.float() / 255)]
    palette = None
    answers = [truths]
    for stage in ('seg_beit', 'seg_scratch'):
        model = build(run, stage)
        name = next(config for title, config, _ in TRAININGS if title == stage)
        palette = load_config(ROOT / 'configs' / name).metainfo['palette']
        mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
        metas = [dict(ori_shape=i.shape[1:], img_shape=i.shape[1:]) for i in images]
        logits = model.encode_decode((images.float() - mean) / std, metas)
        answers.append(list(logits.argmax(1).numpy()))
    for ids in answers:
        columns.append(
            [segmentation_overlay(i, m, palette) for i, m in zip(columns[0], ids, strict=True)]
        )
    return [list(row) for row in zip(*columns, strict=True)]


def two_abreast(rows: list[list[np.ndarray]], titles: list[str]) -> np.ndarray:
    pairs = [a + b for a, b in zip(rows[::2], rows[1::2], strict=True)]
    return grid(pairs, titles * 2, zoom=3)


def curves(run: Path) -> np.ndarray:
    diagrams = [
        draw_curves({'recon': read_scalars(run / 'tokenizer', 'loss_recon')}, 'tokenizer: MSE'),
        draw_curves(
            {'codes': read_scalars(run / 'tokenizer', 'codes_used')}, 'tokenizer: codes used'
        ),
        draw_curves({'loss': read_scalars(run / 'pretrain')}, 'pre-training: cross-entropy (nats)'),
        draw_curves(
            {
                'pre-trained': read_scalars(run / 'cls_beit'),
                'scratch': read_scalars(run / 'cls_scratch'),
            },
            'classification: training loss',
        ),
    ]
    return np.vstack([np.hstack(diagrams[:2]), np.hstack(diagrams[2:])])


def write_page(run: Path, text: str, pictures: dict[str, tuple[str, np.ndarray]]) -> Path:
    parts = [
        '<!doctype html><meta charset="utf-8"><title>beit_mm quickstart</title>',
        '<style>body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}'
        'img{max-width:100%}pre{background:#f4f4f4;padding:1em;overflow:auto}</style>',
        f'<h1>BEiT on digit scenes</h1><pre>{text}</pre>',
    ]
    for name, (title, picture) in pictures.items():
        png = cv2.imencode('.png', picture[..., ::-1])[1].tobytes()
        (run / f'{name}.png').write_bytes(png)
        data = base64.b64encode(png).decode()
        parts.append(f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}">')
    page = run / 'report.html'
    page.write_text('\n'.join(parts) + '\n', encoding='utf-8')
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description='Report the results of tools/quickstart.py')
    parser.add_argument('runs', type=Path, nargs='+', help='work dirs of tools/quickstart.py')
    parser.add_argument('--data', type=Path, default=Path('data/digit_scenes'))
    parser.add_argument('--table', action='store_true', help='only print the table')
    parser.add_argument('--figure', type=Path, help='write predictions and masks to this SVG too')
    args = parser.parse_args()
    text = table(args.runs)
    if not args.table:
        run = args.runs[0]
        predicted, segmented = predictions(run, args.data), segmentations(run, args.data)
        pictures = dict(
            reconstructions=(
                'Images and what their tokens say, in turn',
                reconstructions(run, args.data),
            ),
            predictions=(
                'Tokens predicted for masked patches',
                two_abreast(predicted, PREDICTION_TITLES),
            ),
            segmentations=(
                'Segmentation with 500 masks',
                two_abreast(segmented, SEGMENTATION_TITLES),
            ),
            curves=('Curves', curves(run)),
        )
        page = write_page(run, text, pictures)
        if args.figure:
            rows = [a + b for a, b in zip(predicted, segmented, strict=True)][2:8]
            titles = PREDICTION_TITLES + SEGMENTATION_TITLES
            args.figure.write_text(svg_grid(rows, titles, breaks=[len(PREDICTION_TITLES)]))
    print(f'\n{text}\n')
    if not args.table:
        print(f'Pictures and curves: {page} (open it in a browser)')


if __name__ == '__main__':
    try:
        main()
    except FileNotFoundError as error:
        sys.exit(f'error: {error}')
