"""ProbeHook: it measures what is there, and the training does not notice it."""

import copy
import itertools
import json
import logging
import random

import checkpoints_of_models as made
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from beit_mm.contracts import UserError
from beit_mm.engine import ProbeHook
from beit_mm.engine.hooks import probe_hook

pytestmark = pytest.mark.slow

ARCH = dict(embed_dims=16, num_layers=3, num_heads=2)
LABELS = dict(type='LabelledImageFolder')
numbers = itertools.count()  # runs of one name and second share one visualizer


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Two classes that differ in their brightness, 8 images each."""
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for number in range(16):
        path = folder / ('dark' if number % 2 else 'light') / f'{number}.png'
        path.parent.mkdir(exist_ok=True)
        noise = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(path), noise if number % 2 else noise + 190)
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Probes in a training of a second."""
    monkeypatch.setattr(probe_hook, 'LEAST', 12)
    monkeypatch.setattr(probe_hook, 'COST', 1)


def runner_of(work_dir, images, probe, steps=6, val=True, **changes):
    config = made.pretraining(made.PROJECTION, size=16)
    config.model.backbone.update(arch=ARCH, drop_path_rate=0.3)
    loader = config.train_dataloader
    loader.update(
        batch_size=8,
        num_workers=0,
        sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    loader.dataset.data_root = str(images)
    if val:
        config.update(val_dataloader=copy.deepcopy(loader), val_cfg=dict())
        config.val_dataloader.sampler = dict(type='DefaultSampler', shuffle=False)
        config.val_evaluator = dict(type='MaskedTokenAccuracy')
    config.update(
        work_dir=str(work_dir),
        train_cfg=dict(type='beit_mm.ResumableIterLoop', max_iters=steps, val_interval=4),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.01), accumulative_counts=2, clip_grad=dict(max_norm=1)
        ),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='beit_mm.AtomicCheckpointHook', interval=3, by_epoch=False),
            codebook_guard=dict(type='beit_mm.CodebookGuardHook'),
            **(dict(probe=probe) if probe else {}),
        ),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='beit_mm.ContinuedVisBackend')]),
        log_processor=dict(by_epoch=False, window_size=1),
        randomness=dict(seed=7),
        log_level='INFO',
        experiment_name=f'probe{next(numbers)}',
    )
    return Runner.from_cfg(Config(config.to_dict() | changes))


def run(*args, **kwargs):
    runner = runner_of(*args, **kwargs)
    runner.train()
    return runner


def lines(runner):
    text = open(f'{runner.work_dir}/scalars.jsonl').read()
    return [json.loads(line) for line in text.splitlines()]


def probes(runner):
    return {line['iter']: line for line in lines(runner) if 'probe/rank' in line}


def losses(runner):
    return [line['loss'] for line in lines(runner) if 'loss' in line]


def test_random_states__are_restored(images, tmp_path):
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    runner = runner_of(tmp_path, images, None)
    runner.train_loop, runner.val_loop  # noqa: B018  (built at the first look)
    hook, before = ProbeHook(dataset=LABELS), states()
    hook.before_train(runner)
    assert states() == before and hook.first


def test_modes__are_restored():
    backbone = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Flatten(), torch.nn.Linear(12, 4))
    backbone[2].eval()
    modes = [module.training for module in backbone.modules()]
    images = torch.rand(5, 3, 2, 2)
    found = probe_hook.features_of(backbone, images, lambda data, training: data)
    torch.testing.assert_close(found[0], backbone[2](images.flatten(1)))
    assert [module.training for module in backbone.modules()] == modes


EMA = [dict(type='EMAHook', momentum=0.3)]


def test_training__has_the_same_bits(images, tmp_path):
    found = []
    for name, probe in (('with', dict(type='ProbeHook', dataset=LABELS)), ('without', None)):
        torch.manual_seed(3)
        runner = run(tmp_path / name, images, probe, custom_hooks=EMA)
        found.append((losses(runner), runner.model.state_dict()))
        assert bool(probes(runner)) == (name == 'with')
    (a, weights), (b, others) = found
    assert a == b
    assert all(torch.equal(weights[key], others[key]) for key in weights)


def test_labels__figures_of_each_layer(images, tmp_path):
    runner = run(tmp_path, images, dict(type='ProbeHook', dataset=LABELS, num_probes=3))
    found = probes(runner)
    assert [*found] == [0, 2, 4, 6]
    for line in found.values():
        for name in ('knn', 'linear'):
            values = [line[f'probe/layer{n}/{name}'] for n in range(3)]
            assert line[f'probe/{name}'] == max(values) and 0 <= min(values)
        assert line['probe/linear'] == 100  # brightness is easy to see
        assert line['probe/rank'] == line['probe/layer2/rank'] <= 16
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert 'Probe at step 6: kNN' in log and 'chance 50.0 %' in log
    assert f' (at step 0: kNN {found[0]["probe/knn"]:.1f} %, linear 100.0 %, eff' in log
    assert 'gain over the unigram entropy' in log and '% of the time' in log


def test_no_labels__the_rank_alone(images, tmp_path, caplog):
    (tmp_path / 'loose').mkdir()
    for path in images.rglob('*.png'):
        (tmp_path / 'loose' / path.name).write_bytes(path.read_bytes())
    with caplog.at_level(logging.WARNING):
        probe = dict(type='ProbeHook', dataset=LABELS)
        runner = run(tmp_path / 'a', tmp_path / 'loose', probe, val=False, steps=4)
    assert [*probes(runner)][0] == 0 and 'probe/knn' not in probes(runner)[0]
    log = next((tmp_path / 'a' / runner.timestamp).glob('*.log')).read_text()
    assert 'ProbeHook.dataset: there are no labels: ' in log and 'no class folder' in log


def test_average__is_what_is_measured(images, tmp_path, monkeypatch):
    seen = []
    features_of = probe_hook.features_of
    monkeypatch.setattr(
        probe_hook, 'features_of', lambda backbone, *rest: (
            seen.append(backbone), features_of(backbone, *rest))[1],
    )  # fmt: skip
    runner = run(tmp_path, images, dict(type='ProbeHook', num_probes=1), custom_hooks=EMA)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    assert seen[0] is runner.model.backbone  # before it there is no average
    assert seen[-1] is hook.ema_model.module.backbone


def test_resume__goes_on_as_if_it_was_not_stopped(images, tmp_path):
    probe = dict(type='ProbeHook', dataset=LABELS, num_probes=3)
    whole = run(tmp_path / 'whole', images, probe)
    stopped = runner_of(tmp_path / 'parts', images, probe)
    stop = stopped.train_loop.run_iter

    def run_iter(*args):
        if stopped.iter == 5:
            raise KeyboardInterrupt
        stop(*args)

    stopped.train_loop.run_iter = run_iter
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = run(tmp_path / 'parts', images, probe, resume=True)
    assert probes(resumed) == probes(whole) and losses(resumed) == losses(whole)
    hook = next(hook for hook in resumed.hooks if isinstance(hook, ProbeHook))
    assert hook.first['rank'] == probes(whole)[0]['probe/rank']


@pytest.mark.parametrize('broken_from', [0, 3])
def test_a_model_that_cannot_be_probed__is_trained(images, tmp_path, monkeypatch, broken_from):
    measure = probe_hook.features_of

    def features_of(*args):
        calls.append(1)
        if len(calls) > broken_from:
            raise ValueError('not enough values')
        return measure(*args)

    calls = []
    monkeypatch.setattr(probe_hook, 'features_of', features_of)
    runner = run(tmp_path, images, dict(type='ProbeHook', dataset=LABELS))
    assert runner.iter == 6 and len(probes(runner)) == broken_from
    assert len(calls) == broken_from + 1  # it is not tried again
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'cannot be measured (ValueError: not enough values), and the training goes on' in log


def test_other_processes__read_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setattr(probe_hook, 'get_rank', lambda: 1)
    assert probes(run(tmp_path, images, dict(type='ProbeHook', dataset=LABELS))) == {}


@pytest.mark.parametrize(
    ('steps', 'batch', 'size', 'number'),
    [(3000, 48, 327, 10), (100_000, 64, 500, 10), (1000, 16, 128, 2), (100, 32, None, 0)],
)
def test_cost__fewer_images_and_probes_in_short_runs(
    steps, batch, size, number, images, tmp_path, monkeypatch
):
    monkeypatch.undo()
    sizes = []
    monkeypatch.setattr(ProbeHook, '_read', lambda self, runner, size: sizes.append(size))
    monkeypatch.setattr(ProbeHook, '_probe', lambda *args: None)
    runner = runner_of(tmp_path, images, None, steps=steps)
    hook = ProbeHook()
    runner.train_loop.dataloader.__dict__['batch_size'] = batch
    hook.before_train(runner)
    assert sizes == ([] if size is None else [size])
    assert hook._probes == number
    if number:
        images_seen = steps * batch
        assert (number + 1) * size * 35 < images_seen  # a forward is a third of a step at most


def test_errors(images, tmp_path):
    with pytest.raises(UserError, match='num_probes=0'):
        ProbeHook(num_probes=0)
    runner = runner_of(tmp_path, images, None)
    runner.model = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match='Linear has no backbone'):
        ProbeHook().before_train(runner)
