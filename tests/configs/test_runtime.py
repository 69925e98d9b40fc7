"""What the shipped runtimes log of a validation: its own figures, at its step."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub
from mmengine.runner import LogProcessor
from shipped_configs import CONFIGS

RUNTIMES = ('default', 'mmpretrain', 'mmseg')


@pytest.mark.parametrize('name', RUNTIMES)
def test_validation__is_logged_alone_and_at_its_step(name):
    config = Config.fromfile(CONFIGS / f'_base_/runtime/{name}_runtime.py')
    hub = MessageHub('runtime')
    for value in (3.0, 1.0):
        hub.update_scalars({'train/loss': value, 'train/grad_norm': value, 'val/mim/loss': value})
    processor = LogProcessor(**config.log_processor)
    seen = []
    runner = SimpleNamespace(
        iter=40,
        epoch=2,
        message_hub=hub,
        log_processor=processor,
        val_dataloader=[None],
        logger=SimpleNamespace(info=lambda text: None),
        visualizer=SimpleNamespace(
            add_scalars=lambda tag, step, file_path: seen.append((tag, step))
        ),
        _train_loop=SimpleNamespace(max_epochs=9),
        train_loop=SimpleNamespace(max_epochs=9),
        val_loop=SimpleNamespace(dataloader=[None]),
        model=torch.nn.Linear(1, 1),
    )
    settings = {key: value for key, value in config.default_hooks.logger.items() if key != 'type'}
    hook = LoggerHook(**settings)
    hook.json_log_path = 'a.json'
    hook.after_val_epoch(runner)
    [(tag, step)] = seen
    assert tag['mim/loss'] == 1.0 and step == 40
    means = processor._collect_scalars([], runner, 'train')
    assert means['loss'] == means['grad_norm'] == 2.0
