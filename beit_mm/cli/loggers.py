"""Curves for TensorBoard, Weights & Biases or MLflow, beside those in the work dir."""

import os
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from beit_mm.contracts import MissingPackageError
from beit_mm.contracts.config_walk import class_name

LOGGERS = dict(
    tensorboard='TensorboardVisBackend',
    wandb='beit_mm.SteppedWandbVisBackend',
    mlflow='MLflowVisBackend',
)


def add_loggers(config: Config, names: Collection[str]) -> None:
    """Add a backend for each name to the visualizer of ``config``, unless it has one.

    Args:
        config: Its ``work_dir`` is known. The run has the name of that folder, in a project or
            experiment ``beit_mm``.
        names: Keys of ``LOGGERS``. Weights & Biases and MLflow take the rest from their environment
            variables, such as ``WANDB_MODE=offline`` and ``MLFLOW_TRACKING_URI``; without the
            latter, MLflow's files are in the work dir.

    Raises:
        MissingPackageError: The package of a name is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingPackageError(
                f'--log-to {name} needs a package: pip install "beit_mm[loggers]"'
            )
        visualizer = config.get('visualizer') or dict(type='Visualizer')
        backends = [*(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])]
        backend = dict(type=LOGGERS[name], **_names(name, Path(config.work_dir).name))
        if class_name(backend) not in map(class_name, backends):
            backends.append(backend)
        config.visualizer = dict(visualizer, vis_backends=backends)


def _names(logger: str, run: str) -> dict:
    if logger == 'wandb':
        return dict(init_kwargs=dict(project='beit_mm', name=run))
    if logger == 'mlflow':
        uri = os.environ.get('MLFLOW_TRACKING_URI')
        if uri is None:  # MLflow 3 writes no files unless it is told so
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        return dict(exp_name='beit_mm', run_name=run, tracking_uri=uri)
    return {}
