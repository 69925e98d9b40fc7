"""Pictures of what a tokenizer's codes stand for.

python tools/analysis_tools/visualize_tokenizer.py CONFIG CHECKPOINT --out DIR [--images 256]
    [--codes 16] [--columns 12] [--white 1.0] [--tensorboard] [--cfg-options KEY=VALUE ...]

CONFIG is a tokenizer's, or a pre-training config with its tokenizer in CHECKPOINT; the images are
spread over its val_dataloader (train_dataloader where there is none). Writes to DIR
    atlas.png            the commonest codes, each with image patches that map to it
    histogram.png        how often each code is used, sorted, on a logarithmic scale
    reconstructions.png  images and what their tokens say of them
    traversal.png        the commonest codes decoded: alone, and one put into an image
the last two where the tokenizer can decode. Of more than three channels the first three are shown.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import load_checkpoint  # noqa: E402
from mmengine.visualization import TensorboardVisBackend  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from beit_mm.cli.config_options import ConfigOptions  # noqa: E402
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402
from beit_mm.models import BaseTokenizer  # noqa: E402
from beit_mm.registry import DATASETS, MODELS  # noqa: E402
from beit_mm.visualization import (  # noqa: E402
    code_atlas,
    code_traversal,
    constant_ids,
    most_used,
    reconstruction_grid,
    swapped_ids,
    to_rgb,
    usage_histogram,
)

BATCH = 64


def build(config: Config, checkpoint: str) -> tuple[torch.nn.Module, BaseTokenizer]:
    """The config's model with the checkpoint's weights, and the tokenizer in it."""
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor)).eval()
    load_checkpoint(model, checkpoint, map_location='cpu')
    tokenizer = getattr(model, 'tokenizer', model)
    if not isinstance(tokenizer, BaseTokenizer) or tokenizer.vocab_size is None:
        raise UserError(f'model.type={config.model.type} has no tokenizer with a vocabulary')
    return model, tokenizer


def images_of(config: Config, model: torch.nn.Module, number: int) -> torch.Tensor:
    """Images (B, C, H, W) in [0, 1], as the tokenizer sees them, from all over the data set."""
    loader = config.get('val_dataloader') or config.train_dataloader
    dataset = DATASETS.build(loader.dataset)
    chosen = torch.utils.data.Subset(dataset, spread(len(dataset), number))
    images = []
    for batch in DataLoader(chosen, BATCH):
        batch = model.data_preprocessor(batch)
        images.append(batch['token_inputs'] if 'token_inputs' in batch else batch['inputs'])
    return torch.cat(images)


def spread(length: int, number: int) -> list[int]:
    """At most ``number`` places in equal distances: data sets are sorted, often by class."""
    return np.linspace(0, length - 1, min(number, length)).round().astype(int).tolist()


@torch.no_grad()
def in_batches(function, values: torch.Tensor) -> torch.Tensor:
    return torch.cat([function(part) for part in values.split(BATCH)])


def pictures(
    tokenizer: BaseTokenizer,
    images: torch.Tensor,
    num_codes: int,
    columns: int,
    white: float = 1.0,
) -> dict[str, np.ndarray]:
    """Names without the ending -> pictures."""
    ids = in_batches(tokenizer.encode, images)
    counts = torch.bincount(ids.flatten(), minlength=tokenizer.vocab_size).numpy()
    codes = most_used(counts, num_codes)
    shown = to_rgb(images.numpy(), white)
    made = dict(
        atlas=code_atlas(shown, ids.numpy(), codes, columns), histogram=usage_histogram(counts)
    )
    if not tokenizer.can_decode:
        return made

    def decode(grids: np.ndarray) -> np.ndarray:
        return to_rgb(in_batches(tokenizer.decode, torch.from_numpy(grids)).numpy(), white)

    few = spread(len(ids), 32)
    some, first = ids[few].numpy(), ids[0].numpy()
    place = first.shape[0] // 2, first.shape[1] // 2
    made['reconstructions'] = reconstruction_grid(shown[few], decode(some))
    made['traversal'] = code_traversal(
        codes,
        decode(constant_ids(codes, first.shape)),
        decode(first[None])[0],
        decode(swapped_ids(first, codes, place)),
    )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description='Pictures of the codes of a tokenizer')
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', type=Path, required=True, help='folder of the pictures')
    parser.add_argument('--images', type=int, default=256)
    parser.add_argument('--codes', type=int, default=16, help='in the atlas and the traversal')
    parser.add_argument('--columns', type=int, default=12, help='patches of a code in the atlas')
    parser.add_argument(
        '--white',
        type=float,
        default=1.0,
        help='what is shown as white, of values in [0, 1]; less for dark images',
    )
    parser.add_argument(
        '--tensorboard', action='store_true', help='write them to an event file in --out too'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='override the config'
    )
    args = parser.parse_args()
    for name in ('images', 'codes', 'columns'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} {getattr(args, name)}: expected at least 1')
    if args.white <= 0:
        raise UserError(f'--white {args.white:g}: expected a value above 0')
    config = load_config(args.config, args.cfg_options)
    init_default_scope(config.get('default_scope', 'beit_mm'))
    model, tokenizer = build(config, args.checkpoint)
    images = images_of(config, model, args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    board = TensorboardVisBackend(str(args.out)) if args.tensorboard else None
    for name, picture in pictures(tokenizer, images, args.codes, args.columns, args.white).items():
        path = args.out / f'{name}.png'
        cv2.imwrite(str(path), picture[..., ::-1])
        print(path)
        if args.tensorboard:
            board.add_image(name, picture)
    if args.tensorboard:
        board.close()
    if not tokenizer.can_decode:
        print(f'{type(tokenizer).__name__} cannot decode: no reconstructions and no traversal')


if __name__ == '__main__':
    run_tool(main)
