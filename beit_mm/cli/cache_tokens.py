"""Encode the training images of a pre-training once (tools/analysis_tools/cache_tokens.py)."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch.utils.data import DataLoader, Dataset

from beit_mm.cli.arguments import add_device, config_parser, positive_int
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import UserError
from beit_mm.contracts.feature_extractor import has_drawn_weights
from beit_mm.datasets import SeededViews, TokenCacheWriter
from beit_mm.datasets.token_cache.cache_files import describe, row_type
from beit_mm.datasets.token_cache.seeded_views import geometry
from beit_mm.datasets.transforms import PackMIMInputs
from beit_mm.models import MaskedImageModel
from beit_mm.progress import Progress
from beit_mm.registry import MODELS


class Rows(Dataset):
    """Rows ``start`` to ``end`` of a cache: views, and what goes beside their tokens."""

    def __init__(self, views: SeededViews, start: int, end: int):
        self.views, self.start, self.end = views, start, end
        self.pack = PackMIMInputs()

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, place: int) -> dict:
        results = self.views.view(*divmod(self.start + place, len(self.views)))
        crop, flip, crc = geometry(results)
        return dict(self.pack.transform(results), crop=torch.tensor(crop), flip=flip, view=crc)


def build_model(config: Config, device: str) -> MaskedImageModel:
    """Build the config's model with the weights that its training would start from.

    Raises:
        UserError: It has no tokenizer, or one whose tokens are not worth keeping.
    """
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    if not isinstance(model, MaskedImageModel):
        raise UserError(f'model.type={config.model.type}: expected a MaskedImageModel')
    tokenizer = model.tokenizer
    if tokenizer.vocab_size is None:
        raise UserError(
            f'model.tokenizer.type={type(tokenizer).__name__} has continuous targets and no ids '
            'to cache; choose a tokenizer with a vocab_size'
        )
    trained = tokenizer.init_cfg or config.get('load_from')
    if has_drawn_weights(tokenizer) and not trained:
        raise UserError(
            'model.tokenizer has no init_cfg and the config no load_from, so its tokens would be '
            "those of random weights; set init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
    tokenizer.init_weights()
    if config.get('load_from'):
        load_checkpoint(model, config.load_from, map_location='cpu')
    return model.to(device).eval()


@torch.no_grad()
def encode(model: MaskedImageModel, batch: dict) -> np.ndarray:
    """Return the rows of the cache for a batch of :class:`Rows`."""
    images = {name: batch[name] for name in ('inputs', 'token_inputs')}
    ids = model.encode(model.data_preprocessor(images)['token_inputs']).cpu()
    rows = np.zeros(len(ids), row_type(model.tokenizer.vocab_size, tuple(ids.shape[1:])))
    rows['ids'] = ids.numpy()
    for name in ('crop', 'flip', 'view'):
        rows[name] = batch[name].numpy()
    return rows


def cache_tokens(
    config: Config,
    out: Path,
    epochs: int,
    seed: int,
    batch_size: int,
    workers: int,
    shard_rows: int,
    device: str,
) -> None:
    """Write the token cache of a pre-training config, from its last whole shard on.

    Args:
        out: Folder of the cache.
        epochs: Virtual epochs, which are random crops of each image.
        seed: Of the crops.
        workers: Processes that load images.
        shard_rows: Rows in a file.
    """
    init_default_scope(config.get('default_scope', 'beit_mm'))
    model = build_model(config, device)
    views = SeededViews(config.train_dataloader.dataset.to_dict(), seed)
    names = views.names()
    sha256 = model.cached_tokens.sha256()
    plan = describe(
        sha256,
        model.tokenizer.vocab_size,
        model.cached_tokens.pixels(),
        views.pipeline,
        names,
        epochs,
        seed,
    )
    writer = TokenCacheWriter(out, plan, names, shard_rows)
    if writer.done:
        print(f'{writer.done} of {writer.total} rows are there already')
    rows = Rows(views, writer.done, writer.total)
    if len(rows):
        with Progress('rows', writer.total, writer.done) as progress:
            for batch in DataLoader(rows, batch_size, num_workers=workers):
                writer.append(encode(model, batch))
                progress.step(len(batch['inputs']))
    writer.finish()
    print(f'{out}: {len(names)} images in {epochs} virtual epochs; tokenizer {sha256}')


def main(arguments: list[str] | None = None) -> None:
    parser = config_parser('Cache the tokens of the images of a pre-training config')
    parser.add_argument('--out', type=Path, required=True, help='folder of the cache')
    parser.add_argument('--epochs', type=positive_int, default=1, help='crops of each image')
    parser.add_argument('--seed', type=int, default=0, help='of the crops')
    parser.add_argument('--batch-size', type=positive_int, default=256)
    parser.add_argument('--workers', type=int, default=2, help='processes that load images')
    parser.add_argument('--shard-rows', type=positive_int, default=65536)
    add_device(parser)
    args = vars(parser.parse_args(arguments))
    cache_tokens(load_config(args.pop('config'), args.pop('cfg_options')), **args)
