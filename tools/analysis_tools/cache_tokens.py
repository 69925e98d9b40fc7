"""Encode the training images of a pre-training config once, in their random crops.

python tools/analysis_tools/cache_tokens.py CONFIG --out DIR [--epochs K] [--seed 0]
    [--batch-size 256] [--workers 2] [--shard-rows 65536] [--cfg-options KEY=VALUE ...]

K virtual epochs of random crops, flips and jitter, the tokens of each, and what they were made
of. Stopped and begun again with the same arguments, it goes on after the last whole shard.
docs/token_cache.md says how to train from it.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import load_checkpoint  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from beit_mm.datasets import SeededViews, TokenCacheWriter  # noqa: E402
from beit_mm.datasets.token_cache.seeded_views import geometry  # noqa: E402
from beit_mm.datasets.token_cache.cache_files import describe, row_type  # noqa: E402
from beit_mm.datasets.transforms import PackMIMInputs  # noqa: E402
from beit_mm.cli.config_options import ConfigOptions  # noqa: E402
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402
from beit_mm.models import MaskedImageModel  # noqa: E402
from beit_mm.registry import MODELS  # noqa: E402


class Rows(Dataset):
    """The cache's rows from ``start``, packed, with what is stored beside their tokens."""

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
    """The config's model with the weights that its training would start from."""
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
    if next(tokenizer.parameters(), None) is not None and not trained:
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
    """A batch of Rows -> rows of the cache."""
    images = {name: batch[name] for name in ('inputs', 'token_inputs')}
    ids = model.encode(model.data_preprocessor(images)['token_inputs']).cpu()
    rows = np.zeros(len(ids), row_type(model.tokenizer.vocab_size, tuple(ids.shape[1:])))
    rows['ids'] = ids.numpy()
    for name in ('crop', 'flip', 'view'):
        rows[name] = batch[name].numpy()
    return rows


def with_progress(batches: DataLoader, done: int, total: int) -> Iterator[dict[str, Tensor]]:
    """A line every ten seconds and at the end: rows, share, rows per second, time left."""
    begun = told = time.monotonic()
    first = done
    for batch in batches:
        yield batch
        done += len(batch['inputs'])
        now = time.monotonic()
        if now - told > 10 or done == total:
            told, speed = now, (done - first) / (now - begun)
            left = round((total - done) / speed)
            eta = f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}'
            print(f'{done} / {total} ({done / total:.1%}), {speed:.0f}/s, eta {eta}', flush=True)


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
    init_default_scope(config.get('default_scope', 'beit_mm'))
    for name, value in (
        *(('--epochs', epochs), ('--batch-size', batch_size), ('--shard-rows', shard_rows)),
    ):
        if value < 1:
            raise UserError(f'{name} {value}: expected at least 1')
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
        loader = DataLoader(rows, batch_size, num_workers=workers)
        for batch in with_progress(loader, writer.done, writer.total):
            writer.append(encode(model, batch))
    writer.finish()
    print(f'{out}: {len(names)} images in {epochs} virtual epochs; tokenizer {sha256}')


def main() -> None:
    parser = argparse.ArgumentParser(description='Cache the tokens of a pre-training data set')
    parser.add_argument('config', help='a pre-training config (MaskedImageModel)')
    parser.add_argument('--out', type=Path, required=True, help='folder of the cache')
    parser.add_argument('--epochs', type=int, default=1, help='virtual epochs: crops per image')
    parser.add_argument('--seed', type=int, default=0, help='of the crops')
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--workers', type=int, default=2, help='processes that load images')
    parser.add_argument('--shard-rows', type=int, default=65536)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='override the config'
    )
    args = vars(parser.parse_args())
    cache_tokens(load_config(args.pop('config'), args.pop('cfg_options')), **args)


if __name__ == '__main__':
    run_tool(main)
