"""Checks of a config before anything is built: names, keys and numbers that disagree."""

from dataclasses import replace

from mmengine.config import Config

from beit_mm.contracts import Finding, guarded
from beit_mm.preflight.config.class_counts import check_class_counts
from beit_mm.preflight.config.decay import check_decay
from beit_mm.preflight.config.evaluation import check_evaluation
from beit_mm.preflight.config.keys import check_keys
from beit_mm.preflight.config.labels import check_labels
from beit_mm.preflight.config.missing_files import check_files
from beit_mm.preflight.config.model import check_model
from beit_mm.preflight.config.names import check_names
from beit_mm.preflight.config.numbers import check_numbers
from beit_mm.preflight.config.pipelines import check_pipelines
from beit_mm.preflight.config.preprocessor import check_preprocessor
from beit_mm.preflight.config.schedule import check_schedule
from beit_mm.preflight.config.stages import check_stages
from beit_mm.preflight.config.structure import check_structure, wrong_kinds
from beit_mm.preflight.config.trial import check_parts
from beit_mm.preflight.config.variables import check_variables

CHECKS = (
    *(check_variables, check_keys, check_names, check_schedule),
    *(check_pipelines, check_preprocessor, check_evaluation, check_decay, check_stages),
    check_class_counts,
)
IN_TEST_ALONE = ('test_dataloader', 'test_evaluator', 'test_cfg', 'tta_model', 'tta_pipeline')


def check_config(config: Config, world_size: int = 1, files: bool = False) -> list[Finding]:
    """Return what is wrong with a config, errors first.

    An error is what the training is certain to stop at.

    Args:
        world_size: Processes that will train, for the total batch.
        files: Whether checkpoints and folders of images have to be there by now.
    """
    found = [*guarded(check_structure(config), 'check_structure')]
    wrong = [*wrong_kinds(config), *(key for key in config if not isinstance(key, str))]
    if wrong:
        rest = {key: config[key] for key in config if key not in wrong}
        config = Config(rest, filename=config.filename)
    for check in CHECKS:
        found += guarded(check(config), check.__name__)
    for check in (check_numbers, check_labels):
        found += guarded(check(config, world_size), check.__name__)
    for check in (check_parts, check_model):
        places = [finding.place for finding in found if finding.level == 'error']
        found += guarded(check(config, places), check.__name__)
    if files:
        found += guarded(check_files(config), 'check_files')
    if config.get('train_cfg') is not None:  # the training does not build what only a test needs
        found = [
            replace(f, level='warning') if f.place.startswith(IN_TEST_ALONE) else f for f in found
        ]
    return sorted(dict.fromkeys(found), key=lambda finding: finding.level != 'error')
