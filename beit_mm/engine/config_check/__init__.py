"""What is wrong with a config before anything is built: names, keys and numbers that disagree."""

from mmengine.config import Config

from .finding import Finding
from .keys import check_keys
from .names import check_names
from .numbers import check_numbers

__all__ = ['Finding', 'check_config']


def check_config(config: Config, world_size: int = 1) -> list[Finding]:
    """Errors first; an empty list is a config that nothing here speaks against.

    Args:
        world_size: Processes that will train, for the total batch.
    """
    found = [*check_keys(config), *check_names(config), *check_numbers(config, world_size)]
    return sorted(found, key=lambda finding: finding.level != 'error')
