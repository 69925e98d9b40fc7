from . import transforms  # noqa: F401
from .ignore_interrupt import ignore_interrupt
from .samplers import ResumableSampler
from .seeded_dataset import SeededDataset
from .skip_bad_samples import SkipBadSamples, TooManyBadSamplesError
from .unlabelled_image_folder import UnlabelledImageFolder

__all__ = [
    'ResumableSampler',
    'SeededDataset',
    'SkipBadSamples',
    'TooManyBadSamplesError',
    'UnlabelledImageFolder',
    'ignore_interrupt',
]
