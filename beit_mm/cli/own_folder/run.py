"""The stages of a chain: their lengths for the time that is given, and their running."""

import sys
import tempfile
from pathlib import Path

from mmengine.config import Config, ConfigDict

from beit_mm.checkpoints.find_checkpoint import find_checkpoint
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.hardware import Hardware
from beit_mm.cli.own_folder.configs import ChainConfigs, Labels
from beit_mm.cli.stages import Stages, follow
from beit_mm.cli.training_length import set_length
from beit_mm.contracts import UserError
from beit_mm.visualization import read_scalars

START_SECONDS = 12  # of a process, until its first step
MEASURED_STEPS = 10
LEAST_STEPS = 20
SHARES = dict(tokenizer=1, pretrain=4, cls_beit=1, cls_scratch=1, seg_beit=1, seg_scratch=1)
COMMAND = ['-m', 'beit_mm.cli.main']


def stage_names(labels: Labels | None, masks: Labels | None, tokenizer: bool = True) -> list[str]:
    names = ['tokenizer', 'pretrain'] if tokenizer else ['pretrain']
    names += ['cls_beit', 'cls_scratch'] if labels else []
    return names + (['seg_beit', 'seg_scratch'] if masks else [])


def measure(path: Path, hardware: Hardware) -> float:
    """Return the seconds of a step of a config, the median of a few.

    Raises:
        UserError: The training fails; the message has the end of its log.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *COMMAND, 'train', str(path), '--work-dir', folder]
        command += ['--max-iters', str(MEASURED_STEPS), '--no-config-check', '--cfg-options']
        command += ['default_hooks.logger.interval=1', 'train_cfg.val_interval=1000000']
        command += ['load_from=None', 'default_hooks.checkpoint=None']
        log = Path(folder) / 'measured.log'
        if follow(command, Path.cwd(), log, False, hardware.environment):
            raise UserError(f'{path} does not train:\n{log.read_text(errors="replace")[-2000:]}')
        _, times = read_scalars(folder, 'time')
        return sorted(times)[len(times) // 2]


def divide_time(seconds: float, steps: dict[str, float], most: dict[str, int]) -> dict[str, int]:
    """Return the steps of each stage for the seconds of all.

    The pre-training gets what the others leave.

    Args:
        steps: Seconds of a step of each stage.
        most: Steps of the shipped configs, which all but the pre-training do not exceed.
    """
    left = max(seconds - START_SECONDS * len(steps), 0)
    total = sum(SHARES[name] for name in steps)
    lengths = {
        name: min(max(int(left * SHARES[name] / total / step), LEAST_STEPS), most[name])
        for name, step in steps.items()
    }
    others = sum(lengths[name] * step for name, step in steps.items() if name != 'pretrain')
    lengths['pretrain'] = max(int((left - others) / steps['pretrain']), LEAST_STEPS)
    return lengths


def length_for_epochs(
    epochs: int, images: int, made: dict[str, Config], most: dict[str, int]
) -> dict[str, int]:
    """Return the steps of each stage for some passes of the pre-training over all images.

    The tokenizer makes a third of them, the others the steps of the shipped configs.
    """
    lengths = dict(most)
    for name in {'tokenizer', 'pretrain'} & set(made):
        passes = epochs / 3 if name == 'tokenizer' else epochs
        batch = made[name].train_dataloader.batch_size
        lengths[name] = max(round(passes * images / batch), LEAST_STEPS)
    return lengths


def write_configs(
    configs: ChainConfigs, made: dict[str, Config], lengths: dict[str, int]
) -> dict[str, Path]:
    """Write all configs, each of its length."""
    paths = {}
    for name, config in made.items():
        set_length(config, max_iters=lengths[name])
        paths[name] = configs.write(name, config)
    return paths


def run_stages(folder: Path, paths: dict[str, Path], seconds: dict[str, float]) -> None:
    """Train and test all stages, or what is left of them."""
    stages = Stages(folder, Path.cwd(), sum(seconds.values()), len(paths))
    for name, path in paths.items():
        config = load_config(path)
        command = [*COMMAND, 'train', str(path)]
        if config.get('test_dataloader') is not None:
            command += ['--test-out', str(folder / name / 'metrics.json')]
        inputs = [find_checkpoint(part.init_cfg.checkpoint) for part in trained_parts(config)]
        stages.run(name, command, seconds[name], config, inputs, resume=True)


def trained_parts(config: Config) -> list[ConfigDict]:
    """Return the parts of the model that begin with weights of a checkpoint."""
    parts = (config.model.get('tokenizer'), config.model.get('backbone'))
    return [part for part in parts if part and part.get('init_cfg')]
