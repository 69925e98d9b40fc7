"""What the guards of a training look at: names of weights, schedules, the outputs of a head."""

from .class_counts import chance_of, constant_share
from .schedules import is_moving, lr_schedulers, warm_up_end
from .watched_head import Seen, WatchedHead, watched_head
from .weight_names import grouped, names_of

__all__ = [
    'Seen',
    'WatchedHead',
    'chance_of',
    'constant_share',
    'grouped',
    'is_moving',
    'lr_schedulers',
    'names_of',
    'warm_up_end',
    'watched_head',
]
