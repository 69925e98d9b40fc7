import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from beit_mm.contracts import WrappedSource
from beit_mm.contracts.digest import tokens_key
from beit_mm.datasets.samplers import SeededIndex
from beit_mm.datasets.token_cache.cache_files import FLIPS, TokenCacheError
from beit_mm.datasets.token_cache.seeded_views import SeededViews, geometry
from beit_mm.datasets.token_cache.token_cache import TokenCache
from beit_mm.registry import DATASETS


@DATASETS.register_module()
class CachedTokens(WrappedSource):
    """A pre-training data set whose tokens come from a cache instead of the tokenizer.

    Each sample is one of the cached random crops. Its crop, flip and jitter are drawn again from
    the seed of the cache, so that the encoder's view is that of the cache bit for bit. The
    tokenizer's view is not made. Masks are drawn anew each time. Writes token_ids (h, w) and
    tokenizer_key for PackMIMInputs.

    A sampler that tells the epoch (ResumableSampler) goes through the virtual epochs in turn;
    with others, one is drawn for each sample.

    Args:
        dataset: The config of the data set, pipeline included, as it was when the cache was made.
        cache_dir: Made by tools/analysis_tools/cache_tokens.py.
        verify: Read the whole cache once to compare its checksums.

    Raises:
        TokenCacheError: The cache is not whole, or is of another pipeline or of other files. Or an
            image or a library has changed, so that a view is not the one that was encoded.
    """

    reads_epoch = True
    names_errors = True

    def __init__(self, dataset: Mapping, cache_dir: str, verify: bool = True):
        self.cache = TokenCache(cache_dir, verify)
        self.epochs, seed = self.cache.index['epochs'], self.cache.index['seed']
        self.views = SeededViews(dataset, seed, token_view=False)
        super().__init__(self.views.dataset)
        self.cache.check(self.views.pipeline, self.views.names())
        self.tokenizer_key = tokens_key(self.cache.index['tokenizer'], self.cache.index['pixels'])

    def __getitem__(self, index: int) -> Any:
        epoch = index.epoch if isinstance(index, SeededIndex) else None
        epoch = random.randrange(self.epochs) if epoch is None else epoch % self.epochs
        return self.views.finish(self.sample(epoch, int(index)))

    def sample(self, epoch: int, index: int) -> dict:
        """Return view and tokens of a sample in a virtual epoch, before the mask."""
        results = self.views.view(epoch, index)
        row = self.cache[epoch * len(self) + index]
        self._check_view(results, row)
        results['token_ids'] = row['ids'].astype(np.int64)
        results['tokenizer_key'] = self.tokenizer_key
        return results

    def _check_view(self, results: Mapping, row: np.void) -> None:
        """Raise a TokenCacheError unless the view is the one that was encoded."""
        crop, flip, crc = geometry(results)
        stored = tuple(row['crop'].tolist()), int(row['flip'])
        if (crop, flip) != stored:
            was = f'crop {stored[0]}, flip {FLIPS[stored[1]]}'
            now = f'crop {crop}, flip {FLIPS[flip]}'
            what = f'{was} when it was encoded, but {now} now'
        elif crc != int(row['view']):
            what = 'the same crop, but other pixels than when it was encoded'
        else:
            return
        raise TokenCacheError(
            f'{self.cache.folder}: image {results["img_path"]!r} has {what}; the file, or a '
            'library that loads, jitters or resizes it, has changed: make the cache again'
        )
