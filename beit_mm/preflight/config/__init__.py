"""Checks of a config before anything is built: names, keys and numbers that disagree."""

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.preflight.config.decay import check_decay
from beit_mm.preflight.config.evaluation import check_evaluation
from beit_mm.preflight.config.keys import check_keys
from beit_mm.preflight.config.names import check_names
from beit_mm.preflight.config.numbers import check_numbers
from beit_mm.preflight.config.preprocessor import check_preprocessor
from beit_mm.preflight.config.schedule import check_schedule
from beit_mm.preflight.config.stages import check_stages

__all__ = ['check_config']


def check_config(config: Config, world_size: int = 1) -> list[Finding]:
    """Return what is wrong with a config, errors first.

    Args:
        world_size: Processes that will train, for the total batch.
    """
    found = [
        *check_keys(config),
        *check_names(config),
        *check_numbers(config, world_size),
        *check_schedule(config),
        *check_preprocessor(config),
        *check_evaluation(config),
        *check_decay(config),
        *check_stages(config),
    ]
    return sorted(found, key=lambda finding: finding.level != 'error')
