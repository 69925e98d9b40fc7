from beit_mm.datasets import transforms  # noqa: F401
from beit_mm.datasets.ignore_interrupt import ignore_interrupt
from beit_mm.datasets.labelled_image_folder import LabelledImageFolder
from beit_mm.datasets.named_errors import BadImageError
from beit_mm.datasets.samplers import ResumableSampler
from beit_mm.datasets.seeded_dataset import SeededDataset
from beit_mm.datasets.segmentation_folder import SegmentationFolder
from beit_mm.datasets.skip_bad_samples import SkipBadSamples, TooManyBadSamplesError
from beit_mm.datasets.token_cache.cache_files import TokenCacheError
from beit_mm.datasets.token_cache.cached_tokens import CachedTokens
from beit_mm.datasets.token_cache.seeded_views import SeededViews
from beit_mm.datasets.token_cache.token_cache import TokenCache
from beit_mm.datasets.token_cache.token_cache_writer import TokenCacheWriter
from beit_mm.datasets.unlabelled_image_folder import UnlabelledImageFolder

__all__ = [
    'BadImageError',
    'CachedTokens',
    'LabelledImageFolder',
    'ResumableSampler',
    'SeededDataset',
    'SeededViews',
    'SegmentationFolder',
    'SkipBadSamples',
    'TokenCache',
    'TokenCacheError',
    'TokenCacheWriter',
    'TooManyBadSamplesError',
    'UnlabelledImageFolder',
    'ignore_interrupt',
]
