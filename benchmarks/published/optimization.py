"""Learning rates of layers and of iterations."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from beit_mm.engine.optim_wrappers import BEiTOptimWrapperConstructor
from beit_mm.models.backbones import BEiTEncoder
from beit_mm.models.necks import PatchMeanNeck
from benchmarks.peers.comparison import CLASSES, Ours
from benchmarks.published.row import Published, compare_rule

SCHEDULES = Path(__file__).resolve().parents[2] / 'configs/_base_/schedules'


def published_scale(name: str, layers: int, decay: float) -> float:
    """Return the factor of unilm beit/optim_factory.py and run_class_finetuning.py."""
    if name in ('backbone.cls_token', 'backbone.mask_token', 'backbone.pos_embed'):
        place = 0
    elif name.startswith('backbone.patch_embed'):
        place = 0
    elif name.startswith('backbone.blocks.'):
        place = int(name.split('.')[2]) + 1
    else:
        place = layers + 1
    return decay ** (layers + 1 - place)


def compare_layer_decay() -> Iterator[Published]:
    arch = dict(embed_dims=8, num_layers=12, num_heads=2)
    backbone = BEiTEncoder(arch=arch, img_size=32, abs_pos=True)
    model = Ours(backbone, PatchMeanNeck(8), nn.Linear(8, CLASSES))
    for decay in (0.65, 0.85, 0.9):
        constructor = BEiTOptimWrapperConstructor(
            dict(optimizer=dict(type='AdamW', lr=1.0)), dict(layer_decay_rate=decay)
        )
        groups = constructor.param_groups(model, lr=1.0, weight_decay=0.05)
        lrs = {id(p): group['lr'] for group in groups for p in group['params']}
        error = max(
            abs(lrs[id(p)] - published_scale(name, 12, decay))
            for name, p in model.named_parameters()
        )
        yield compare_rule(
            f'Learning rate of each of {len(lrs)} parameters, layer decay {decay}',
            'unilm beit/optim_factory.py',
            error,
            1e-12,
            published=f'{decay}^(13 - i)',
        )


def published_schedule(peak: float, final: float, warm_up: int, steps: int) -> np.ndarray:
    """Return unilm beit/utils.py cosine_scheduler: linear from 0, then half a cosine."""
    ramp = np.linspace(0, peak, warm_up)
    part = np.arange(steps - warm_up) / (steps - warm_up)
    return np.concatenate([ramp, final + 0.5 * (peak - final) * (1 + np.cos(np.pi * part))])


def configured_schedule(name: str, epochs: int, iters: int) -> np.ndarray:
    """Return the learning rate of each iteration with a schedule of the configs."""
    config = Config.fromfile(SCHEDULES / f'{name}.py')
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=config.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimizer)
    schedulers = []
    for options in config.param_scheduler:
        cls = PARAM_SCHEDULERS.get(options.pop('type'))
        options.pop('convert_to_iter_based')
        options.setdefault('end', epochs)  # as the Runner does
        schedulers.append(
            cls.build_iter_from_epoch(optimizer=wrapper, epoch_length=iters, **options)
        )
    found = []
    for _ in range(epochs * iters):
        found.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return np.array(found)


def compare_schedules() -> Iterator[Published]:
    for name, peak, final, warm_up, epochs in (
        ('beit-base_300e', 1.5e-3, 1e-5, 10, 300),
        ('beit-base_ft-100e', 4e-3, 1e-6, 20, 100),
    ):
        iters = 7  # of an epoch
        found = configured_schedule(name, epochs, iters)
        wanted = published_schedule(peak, final, warm_up * iters, epochs * iters)
        error = np.abs(found - wanted).max() / peak
        yield compare_rule(
            f'Learning rate of each iteration, {name}',
            'unilm beit/utils.py cosine_scheduler',
            error,
            2e-6,  # the first factor is 1e-6 and not 0
            here=f'{error:.1e} of the peak',
        )
