"""--log-to: the same curves, at the same steps, in every logger and in the work dir."""

import json
import struct
import time
from pathlib import Path

import pytest
import small_runs
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS, MODELS

from beit_mm.cli import loggers
from beit_mm.cli.loggers import LOGGERS, add_loggers
from beit_mm.contracts import MissingPackageError


@MODELS.register_module(force=True)
class Answers(small_runs.PointClassifier):
    """Trains as its parent, and predicts nothing."""

    def forward(self, inputs, label, mode='loss'):
        return super().forward(inputs, label) if mode == 'loss' else [{}]


@METRICS.register_module(force=True)
class Answer(BaseMetric):
    """The validation of nothing."""

    def process(self, data_batch, data_samples):
        pass

    def compute_metrics(self, results):
        pass

    def evaluate(self, size):
        return dict(answer=42.0)


def read_tensorboard(folder: Path) -> dict:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [events] = folder.rglob('events.out.tfevents*')
    found = EventAccumulator(str(events))
    found.Reload()
    tags = found.Tags()['scalars']
    return {tag: {event.step: event.value for event in found.Scalars(tag)} for tag in tags}


def read_wandb(folder: Path) -> dict:
    """Its process may write for a while after the run has been told to finish."""
    end = time.monotonic() + 60
    while 6 not in (found := read_wandb_once(folder)).get('answer', ()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def read_wandb_once(folder: Path) -> dict:
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = folder.rglob('run-*.wandb')
    found = {}
    for data in wandb_records(path.read_bytes()):
        items = Record.FromString(data).history.item
        values = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in items}
        for tag, value in values.items():
            found.setdefault(tag, {})[values['_step']] = value
    return found


def wandb_records(content: bytes):
    """Yield the records of a file in LevelDB's log format: blocks of 32 KiB, parts in them."""
    at, whole = 7, b''  # behind the header of the file
    while at + 7 <= len(content):
        if -at % 2**15 < 7:  # too little room for a header: padding
            at += -at % 2**15
            continue
        length, kind = struct.unpack('<HB', content[at + 4 : at + 7])  # behind the checksum
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last part
            yield whole
            whole = b''


def read_mlflow(folder: Path) -> dict:
    from mlflow import MlflowClient

    [store] = folder.glob('*/vis_data')
    client = MlflowClient(f'file://{store}')
    experiment = client.get_experiment_by_name('beit_mm')
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == folder.name
    return {
        tag: {value.step: value.value for value in client.get_metric_history(run.info.run_id, tag)}
        for tag in run.data.metrics
    }


READ = dict(tensorboard=read_tensorboard, wandb=read_wandb, mlflow=read_mlflow)


@pytest.mark.slow
@pytest.mark.parametrize('name', LOGGERS)
def test_curves__are_those_of_the_work_dir(tmp_path, monkeypatch, name):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    config = Config(
        dict(
            work_dir=str(tmp_path / 'run'),
            visualizer=dict(
                type='Visualizer', vis_backends=[dict(type='beit_mm.ContinuedVisBackend')]
            ),
        )
    )
    add_loggers(config, [name])
    hooks = dict(logger=dict(type='LoggerHook', interval=2, log_metric_by_epoch=False))
    small_runs.train(
        config.work_dir,
        steps=6,
        cfg=Config(dict(work_dir=config.work_dir, lr=0.02)),
        model=dict(type='Answers'),
        visualizer=config.visualizer,
        default_hooks=hooks,
        log_processor=dict(by_epoch=False, window_size=1),
        train_cfg=dict(type='beit_mm.ResumableIterLoop', max_iters=6, val_interval=4),
        val_dataloader=dict(
            batch_size=8,
            dataset=dict(type='Points'),
            sampler=dict(type='DefaultSampler'),
            collate_fn=dict(type='default_collate'),
        ),
        val_cfg=dict(),
        val_evaluator=dict(type='Answer'),
    )
    lines = (tmp_path / 'run/scalars.jsonl').read_text().splitlines()
    expected = {line['iter']: line['loss'] for line in map(json.loads, lines) if 'loss' in line}
    assert [*expected] == [2, 4, 6]
    found = READ[name](tmp_path / 'run')
    assert found['loss'] == pytest.approx(expected, rel=1e-6)
    assert found['answer'] == {4: 42, 6: 42}  # the last step is validated too


def test_config__keeps_what_it_has_and_gets_each_once(monkeypatch):
    monkeypatch.setattr(loggers, 'find_spec', lambda name: True)
    own = dict(type='TensorboardVisBackend', save_dir='there')
    config = Config(dict(work_dir='a/b', visualizer=dict(type='V', vis_backends=[own], name='v')))
    add_loggers(config, ['tensorboard', 'wandb', 'wandb'])
    assert config.visualizer.name == 'v'
    assert [backend.type for backend in config.visualizer.vis_backends] == [
        'TensorboardVisBackend',
        'beit_mm.SteppedWandbVisBackend',
    ]
    config = Config(dict(work_dir='a/b'))
    add_loggers(config, ['mlflow'])
    assert [b.type for b in config.visualizer.vis_backends] == [
        'LocalVisBackend',
        LOGGERS['mlflow'],
    ]
    assert config.visualizer.vis_backends[1].run_name == 'b'


@pytest.mark.parametrize('name', LOGGERS)
def test_missing_package__is_named(monkeypatch, name):
    monkeypatch.setattr(loggers, 'find_spec', lambda name: None)
    with pytest.raises(MissingPackageError, match=f'--log-to {name} needs'):
        add_loggers(Config(dict(work_dir='a')), [name])
