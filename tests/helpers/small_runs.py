"""Trainings of a second that a guard can find well or ill: a classifier of four-number points."""

import re
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner

numbers = iter(range(10**6))


@DATASETS.register_module(force=True)
class Points(BaseDataset):
    """Class k is where number k is 1. ``labels``: true, shuffled, or one."""

    METAINFO = dict(classes=('ant', 'bee', 'cow', 'dog'))

    def __init__(self, size=64, labels='true', **kwargs):
        self.size, self.labels = size, labels
        super().__init__(pipeline=[], serialize_data=False, **kwargs)

    def load_data_list(self):
        generator = torch.Generator().manual_seed(0)
        rows = []
        for index in range(self.size):
            point = 0.1 * torch.randn(4, generator=generator)
            point[index % 4] += 1
            drawn = int(torch.randint(4, (), generator=generator))
            label = dict(true=index % 4, shuffled=drawn, one=2)[self.labels]
            rows.append(dict(inputs=point, label=torch.tensor(label)))
        return rows

    def get_data_info(self, index):
        return {k: v for k, v in super().get_data_info(index).items() if k != 'sample_idx'}


class CrossEntropyLoss(nn.Module):
    """As mmpretrain's and mmseg's are called."""

    class_weight = None

    def forward(self, logits, labels, **kwargs):
        return F.cross_entropy(logits, labels)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)
        self.loss_module = CrossEntropyLoss()


@MODELS.register_module(force=True)
class PointClassifier(BaseModel):
    """Two branches and a head.

    ``broken``: ``unused`` (no output of branch b), ``detached`` (b), ``detached loss``,
    ``dead`` (the ReLU of b), ``blind`` (the head sees zeros), ``sometimes`` (b in every third
    step), ``scale`` (b through a LayerScale of 0).
    """

    def __init__(self, broken: str = ''):
        super().__init__()
        self.broken, self.count = broken, 0
        self.a, self.b = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(4, 8)
        self.scale = nn.Parameter(torch.zeros(8)) if broken == 'scale' else None
        if broken == 'dead':
            self.b.bias.data.fill_(-100)
        self.head = Head()

    def forward(self, inputs, label, mode='loss'):
        self.count += 1
        b = self.b(inputs)
        if self.broken == 'detached':
            b = b.detach()
        if self.broken == 'dead':
            b = b.relu()
        if self.broken == 'scale':
            b = b * self.scale
        if self.broken == 'unused' or (self.broken == 'sometimes' and self.count % 3):
            b = 0
        feats = self.a(inputs) + b
        if self.broken == 'blind':
            feats = feats * 0
        loss = self.head.loss_module(self.head.fc(feats), label, avg_factor=len(label))
        if self.broken == 'detached loss':
            loss = loss.detach() + 0 * self.head.fc.weight.sum()
        return dict(loss=loss)


def small_run(
    work_dir, guard=None, steps=60, model=None, data=None, batch_size=8, **changes
) -> Runner:
    guards = guard if isinstance(guard, list) else [guard] if guard else []
    config = dict(
        model=dict(model or dict(type='PointClassifier')),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
            dataset=dict(type='Points', **(data or {})),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(type='beit_mm.ResumableIterLoop', max_iters=steps),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.02)),
        default_hooks=dict(
            timer=dict(type='beit_mm.EtaTimerHook'),
            logger=dict(type='LoggerHook', interval=10**6),
            checkpoint=dict(
                type='beit_mm.AtomicCheckpointHook', interval=10**6, by_epoch=False, save_last=False
            ),
        ),
        custom_hooks=[dict(type='beit_mm.NonFiniteGuardHook'), *guards],
        visualizer=dict(type='Visualizer', vis_backends=[]),
        randomness=dict(seed=3),
        log_level='WARNING',
        experiment_name=f'small{next(numbers)}',
    )
    config.update(changes)
    runner = Runner(**Config(config))
    return runner


def train(*args, **kwargs) -> Runner:
    runner = small_run(*args, **kwargs)
    runner.train()
    return runner


def told(runner) -> list[str]:
    """What guards wrote to the log of the run."""
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    return [line for line in re.split(r'\n(?=\d{4}/\d\d)', log) if 'docs/health.md' in line]
