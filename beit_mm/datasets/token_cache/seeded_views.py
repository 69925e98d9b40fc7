import os
import zlib
from collections.abc import Mapping
from copy import copy

import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DATASETS as ALL_DATASETS

from beit_mm.contracts import UserError
from beit_mm.contracts.digest import plain
from beit_mm.datasets.named_errors import BadImageError, NamedErrors
from beit_mm.datasets.random_state import kept_random_state
from beit_mm.datasets.token_cache.cache_files import FLIPS
from beit_mm.datasets.transforms import BasePatchMask, PackMIMInputs, TwoViewResizedCrop

VIEWS = 2  # a stream of random numbers of its own beside the sampler's


class SeededViews:
    """The random views of a pre-training data set, as a function of (seed, epoch, sample).

    The pipeline is cut in two before its mask. The first part loads, jitters, flips and crops;
    ``pipeline`` is its config. ``finish`` masks and packs.

    Args:
        dataset: The config of a data set with a pipeline, as pre-training has it.
        token_view: Make the tokenizer's view; without it all random numbers are the same.

    Raises:
        UserError: The config has no pipeline with a TwoViewResizedCrop that has a ``token_size``.
    """

    def __init__(self, dataset: Mapping, seed: int, token_view: bool = True):
        configs = dataset.get('pipeline') if isinstance(dataset, Mapping) else None
        if not configs:
            raise UserError(
                'train_dataloader.dataset has no pipeline of its own; tokens are cached for a data '
                'set with one, for example an UnlabelledImageFolder, not for a wrapper'
            )
        self.dataset = ALL_DATASETS.build(dict(dataset))
        transforms = list(self.dataset.pipeline.transforms)
        last = (BasePatchMask, PackMIMInputs)
        cut = next((i for i, t in enumerate(transforms) if isinstance(t, last)), len(transforms))
        first = transforms[:cut]
        if not any(isinstance(t, TwoViewResizedCrop) and t.token_size for t in first):
            raise UserError(
                'train_dataloader.dataset.pipeline has no TwoViewResizedCrop with a token_size '
                'before its mask; there is no view for the tokenizer to cache'
            )
        if not token_view:
            first = [_without_token_view(transform) for transform in first]
        self.first = NamedErrors(Compose(first))
        self.finish = NamedErrors(Compose(transforms[cut:]))
        self.pipeline = plain(list(configs)[:cut])
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def names(self) -> list[str]:
        """Return the paths of the images below the data set's ``data_root``."""
        root = getattr(self.dataset, 'data_root', '') or ''  # not every data set has one
        paths = [self.dataset.get_data_info(i)['img_path'] for i in range(len(self))]
        return [os.path.relpath(p, root) if root and p.startswith(root) else p for p in paths]

    def view_seed(self, epoch: int, index: int) -> int:
        sequence = np.random.SeedSequence([self.seed, epoch, index, VIEWS])
        return int(sequence.generate_state(1, np.uint64)[0])

    def view(self, epoch: int, index: int) -> dict:
        """Return what the pipeline makes before the mask. The generators are left as they were."""
        with kept_random_state(self.view_seed(epoch, index)):
            info = self.dataset.get_data_info(index)
            path = info['img_path']
            results = self.first(info)
        if results is None:
            raise BadImageError(
                f'image {path!r} (sample {index}): the pipeline returned None; repair or remove '
                'the file'
            )
        return results


def geometry(results: Mapping) -> tuple[tuple[int, ...], int, int]:
    """Return crop, flip (a place in FLIPS) and CRC-32 of the encoder's view."""
    flip = (results.get('flip_direction') or 'horizontal') if results.get('flip') else 'none'
    crc = zlib.crc32(np.ascontiguousarray(results['img']))
    return tuple(results['crop']), FLIPS.index(flip), crc


def _without_token_view(transform):
    if isinstance(transform, TwoViewResizedCrop):
        transform = copy(transform)
        transform.token_size = None
    return transform
