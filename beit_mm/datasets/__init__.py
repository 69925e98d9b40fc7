from beit_mm.named_errors import BadImageError

from . import transforms  # noqa: F401
from .cached_tokens import CachedTokens
from .ignore_interrupt import ignore_interrupt
from .samplers import ResumableSampler
from .seeded_dataset import SeededDataset
from .seeded_views import SeededViews
from .skip_bad_samples import SkipBadSamples, TooManyBadSamplesError
from .token_cache import TokenCache, TokenCacheError, TokenCacheWriter
from .unlabelled_image_folder import UnlabelledImageFolder

__all__ = [
    'BadImageError',
    'CachedTokens',
    'ResumableSampler',
    'SeededDataset',
    'SeededViews',
    'SkipBadSamples',
    'TokenCache',
    'TokenCacheError',
    'TokenCacheWriter',
    'TooManyBadSamplesError',
    'UnlabelledImageFolder',
    'ignore_interrupt',
]
