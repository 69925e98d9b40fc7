"""A training of half a second in which everything is random that BEiT's training draws."""

import random

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS

from beit_mm.contracts import TrainingState

SIZE = 22  # of the data: neither batches nor processes divide it


@TRANSFORMS.register_module(force=True)
class TinyNoise:
    """Draws from all three generators; the sample tells what it drew."""

    def __call__(self, results: dict) -> dict:
        noise = [random.random(), np.random.rand(), torch.rand(()).item()]
        value = torch.full((4,), results['value']) + torch.tensor(noise + [0.0])
        return dict(inputs=value, index=torch.tensor(results['value']), noise=torch.tensor(noise))


@DATASETS.register_module(force=True)
class TinyDataset(BaseDataset):
    def __init__(self, size: int = SIZE, **kwargs):
        self.size = size
        super().__init__(pipeline=[dict(type='TinyNoise')], serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        return [dict(value=float(i), img_path=f'{i}.png') for i in range(self.size)]


class TinyMemory(torch.nn.Module, TrainingState):
    """A state outside of the state dict, which depends on all steps before."""

    mean = 1.0

    def forward(self, value):
        self.mean = 0.9 * self.mean + 0.1 * value.item()
        return 1 + self.mean / 100

    def training_state(self) -> dict:
        return dict(mean=self.mean)

    def load_training_state(self, state: dict) -> None:
        self.mean = state['mean']


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """``poison`` are indices of samples that make the loss NaN."""

    def __init__(self, poison=(), bias: bool = True):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5)
        )
        self.head = torch.nn.Linear(8, 1)
        self.memory = TinyMemory()
        self.poison = list(poison)
        self.seen: list[list[int]] = []
        self.noise: list[torch.Tensor] = []

    def forward(self, inputs, index, noise, mode='loss'):
        out = self.head(self.body(inputs / 10))
        if mode == 'predict':
            return [dict(score=value.item()) for value in out + np.random.rand()]
        self.seen.append([int(i) for i in index])
        self.noise.append(noise)
        out = out * self.memory(inputs.mean())
        loss = (out - inputs.mean(1, keepdim=True)).square().mean() * (1 + random.random())
        if set(self.seen[-1]) & set(self.poison):
            loss = loss * float('nan')
        return dict(loss=loss)


@METRICS.register_module(force=True)
class TinyMetric(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results) -> dict:
        return dict(score=sum(result['score'] for result in results) / len(results))


def tiny_config(
    work_dir,
    kind='Iter',
    steps=12,
    workers=0,
    persistent=False,
    every=3,
    background=False,
    **changes,
):
    """``steps`` are epochs for kind='Epoch'; ``every`` iterations there is a checkpoint."""
    amount = dict(max_iters=steps) if kind == 'Iter' else dict(max_epochs=steps)
    loader = dict(
        batch_size=4,
        num_workers=workers,
        persistent_workers=persistent and workers > 0,
        sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
        dataset=dict(type='TinyDataset'),
        collate_fn=dict(type='default_collate'),
    )
    val_interval = 4 if kind == 'Iter' else 1
    config = dict(
        model=dict(type='TinyModel'),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=dict(
            batch_size=8,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='TinyDataset', size=8),
            collate_fn=dict(type='default_collate'),
        ),
        val_evaluator=dict(type='TinyMetric'),
        val_cfg=dict(),
        train_cfg=dict(type=f'beit_mm.Resumable{kind}Loop', val_interval=val_interval, **amount),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=1.0)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
            dict(type='CosineAnnealingLR', by_epoch=False, begin=5, end=40),
        ],
        default_hooks=dict(
            timer=dict(type='beit_mm.EtaTimerHook'),
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(
                type='beit_mm.AtomicCheckpointHook',
                interval=every,
                by_epoch=False,
                background=background,
            ),
        ),
        custom_hooks=[
            dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.1),
            dict(type='beit_mm.NonFiniteGuardHook'),
            dict(type='beit_mm.UpdateGuardHook', interval=4),
            dict(type='beit_mm.GracefulStopHook'),
            dict(type='beit_mm.RunRecordHook'),
        ],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='beit_mm.ContinuedVisBackend')]),
        log_processor=dict(by_epoch=kind == 'Epoch', window_size=3),
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0)),
        randomness=dict(seed=7, diff_rank_seed=True),
        log_level='WARNING',
    )
    config.update(changes)
    return config
