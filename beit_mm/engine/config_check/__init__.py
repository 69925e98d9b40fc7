"""What is wrong with a config before anything is built: names, keys and numbers that disagree."""

from mmengine.config import Config

from .decay import check_decay
from .evaluation import check_evaluation
from .finding import Finding
from .keys import check_keys
from .names import check_names
from .numbers import check_numbers
from .stages import check_means, check_normalised_once, check_stages

__all__ = ['Finding', 'check_config']


def check_config(config: Config, world_size: int = 1) -> list[Finding]:
    """Errors first; an empty list is a config that nothing here speaks against.

    Args:
        world_size: Processes that will train, for the total batch.
    """
    found = [
        *check_keys(config),
        *check_names(config),
        *check_numbers(config, world_size),
        *check_normalised_once(config),
        *check_means(config),
        *check_evaluation(config),
        *check_decay(config),
        *check_stages(config),
    ]
    return sorted(found, key=lambda finding: finding.level != 'error')
