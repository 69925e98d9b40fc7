"""Draw what a tokenizer's codes stand for (tools/analysis_tools/visualize_tokenizer.py)."""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.visualization import TensorboardVisBackend
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from beit_mm.cli.arguments import (
    add_overwrite,
    config_parser,
    positive_float,
    positive_int,
    refuse_existing,
)
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import Tokenizer, UserError
from beit_mm.contracts.target import tokenizer_of
from beit_mm.datasets.spread import spread
from beit_mm.registry import DATASETS, MODELS
from beit_mm.visualization import (
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


def build(config: Config, checkpoint: str) -> tuple[nn.Module, Tokenizer]:
    """Return the config's model with the checkpoint's weights, and the tokenizer in it."""
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor)).eval()
    load_checkpoint(model, checkpoint, map_location='cpu')
    tokenizer = tokenizer_of(model)[0]
    if not isinstance(tokenizer, Tokenizer) or tokenizer.vocab_size is None:
        raise UserError(f'model.type={config.model.type} has no tokenizer with a vocabulary')
    return model, tokenizer


def load_images(config: Config, model: nn.Module, number: int) -> Tensor:
    """Return images (B, C, H, W) in [0, 1] of all parts of the data set for the tokenizer."""
    loader = config.get('val_dataloader') or config.train_dataloader
    dataset = DATASETS.build(loader.dataset)
    chosen = Subset(dataset, spread(len(dataset), number))
    images = []
    for batch in DataLoader(chosen, BATCH):
        batch = model.data_preprocessor(batch)
        images.append(batch['token_inputs'] if 'token_inputs' in batch else batch['inputs'])
    return torch.cat(images)


@torch.no_grad()
def call_in_batches(function: Callable, values: Tensor) -> Tensor:
    return torch.cat([function(part) for part in values.split(BATCH)])


def draw(
    tokenizer: Tokenizer, images: Tensor, num_codes: int, columns: int, white: float = 1.0
) -> dict[str, np.ndarray]:
    """Draw the pictures that the tokenizer allows.

    Args:
        images: (B, C, H, W) in [0, 1].
        num_codes: Codes in the atlas and the traversal.
        columns: Patches of a code in the atlas.
        white: Value that is shown as white.

    Returns:
        ``atlas``, ``histogram`` and, of a tokenizer that decodes, ``reconstructions`` and
        ``traversal``; each (H, W, 3) uint8 RGB.
    """
    ids = call_in_batches(tokenizer.encode, images)
    counts = torch.bincount(ids.flatten(), minlength=tokenizer.vocab_size).numpy()
    codes = most_used(counts, num_codes)
    shown = to_rgb(images.numpy(), white)
    pictures = dict(
        atlas=code_atlas(shown, ids.numpy(), codes, columns), histogram=usage_histogram(counts)
    )
    if not tokenizer.can_decode:
        return pictures

    def decode(grids: np.ndarray) -> np.ndarray:
        decoded = call_in_batches(tokenizer.decode, torch.from_numpy(grids))
        return to_rgb(decoded.numpy(), white)

    few = spread(len(ids), 32)
    some, first = ids[few].numpy(), ids[0].numpy()
    place = first.shape[0] // 2, first.shape[1] // 2
    pictures['reconstructions'] = reconstruction_grid(shown[few], decode(some))
    pictures['traversal'] = code_traversal(
        codes,
        decode(constant_ids(codes, first.shape)),
        decode(first[None])[0],
        decode(swapped_ids(first, codes, place)),
    )
    return pictures


def write(pictures: dict[str, np.ndarray], out: Path, tensorboard: bool) -> None:
    """Write the pictures as PNG files, and into an event file of TensorBoard where asked for."""
    out.mkdir(parents=True, exist_ok=True)
    board = TensorboardVisBackend(str(out)) if tensorboard else None
    for name, picture in pictures.items():
        path = out / f'{name}.png'
        cv2.imwrite(str(path), picture[..., ::-1])
        print(path)
        if board is not None:
            board.add_image(name, picture)
    if board is not None:
        board.close()


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = config_parser('Pictures of the codes of a tokenizer')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', type=Path, required=True, help='folder of the pictures')
    add_overwrite(parser)
    parser.add_argument('--images', type=positive_int, default=256)
    parser.add_argument(
        '--codes', type=positive_int, default=16, help='in the atlas and the traversal'
    )
    parser.add_argument(
        '--columns', type=positive_int, default=12, help='patches of a code in the atlas'
    )
    parser.add_argument(
        '--white',
        type=positive_float,
        default=1.0,
        help='what is shown as white, of values in [0, 1]; less for dark images',
    )
    parser.add_argument(
        '--tensorboard', action='store_true', help='write them to an event file in --out too'
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    refuse_existing('--out', args.out, args.overwrite)
    config = load_config(args.config, args.cfg_options)
    init_default_scope(config.get('default_scope', 'beit_mm'))
    model, tokenizer = build(config, args.checkpoint)
    images = load_images(config, model, args.images)
    pictures = draw(tokenizer, images, args.codes, args.columns, args.white)
    write(pictures, args.out, args.tensorboard)
    if not tokenizer.can_decode:
        print(f'{type(tokenizer).__name__} cannot decode: no reconstructions and no traversal')
