"""Whatever is shipped can be killed."""

from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2] / 'configs'
CONFIGS = sorted(path for path in ROOT.rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config__resumes_exactly(path):
    config = Config.fromfile(path)
    assert config.train_cfg.type in ('beit_mm.ResumableEpochLoop', 'beit_mm.ResumableIterLoop')
    assert config.train_dataloader.sampler.type == 'beit_mm.ResumableSampler'
    hooks = {hook.type for hook in config.default_hooks.values()}
    assert hooks >= {
        'beit_mm.AtomicCheckpointHook',
        'beit_mm.NonFiniteGuardHook',
        'beit_mm.GracefulStopHook',
        'beit_mm.WorkerTimeoutHook',
        'beit_mm.RunRecordHook',
        'beit_mm.EtaTimerHook',
    }
    assert config.visualizer.vis_backends[0].type == 'beit_mm.ContinuedVisBackend'
    # iterations are what an iteration loop's checkpoints count
    assert config.default_hooks.checkpoint.get('by_epoch', True) == (
        'Epoch' in config.train_cfg.type
    )
