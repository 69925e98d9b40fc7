"""The stages of the quickstart: skipped when done, resumed when stopped, repeated when changed."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from beit_mm.cli import quickstart, stages
from beit_mm.cli.hardware import HARDWARE

COUNT = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text() + 'x')"
CONFIG = 'pretrain/beit_beit-micro-p8_digit-scenes.py'


@pytest.fixture
def runs(tmp_path):
    """A file that gets one x for each time a stage really runs."""
    path = tmp_path / 'runs'
    path.write_text('')
    return path


def start(tmp_path):
    path = tmp_path / 'work' / HARDWARE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(threads=3, amp=True)))
    return quickstart.Quickstart(tmp_path / 'work', tmp_path / 'data', seed=0, smoke=True)


def test_stage__finished_is_skipped_and_changed_is_repeated(tmp_path, runs, capsys):
    for _ in range(2):
        start(tmp_path).run('one', ['-c', COUNT, str(runs)], seconds=1)
    assert runs.read_text() == 'x'
    assert 'one: done before' in capsys.readouterr().out
    start(tmp_path).run('one', ['-c', COUNT, str(runs), 'more'], seconds=1)
    assert runs.read_text() == 'xx'


def test_stage__keeps_checkpoints_that_it_did_not_write(tmp_path, capsys):
    """Somebody has trained the stage alone, for hours perhaps."""
    folder = tmp_path / 'work/one'
    folder.mkdir(parents=True)
    for name in ('iter_40.pth', 'last_checkpoint'):
        (folder / name).write_text(name)
    start(tmp_path).run('one', ['-c', 'pass'], 1, resume=True)
    (kept,) = (tmp_path / 'work/.earlier').glob('one_*')
    assert [path.read_text() for path in sorted(kept.iterdir())] == [
        *('iter_40.pth', 'last_checkpoint')
    ]
    assert [*folder.glob('*.pth')] == [] and f'are in {kept} now' in capsys.readouterr().out


def test_stage__a_new_checkpoint_under_the_same_name_repeats_it(tmp_path, runs):
    checkpoint = tmp_path / 'a.pth'
    command = ['-c', COUNT, str(runs), f'model.init_cfg.checkpoint={checkpoint}']
    for content in ('first', 'first', 'second'):
        checkpoint.write_text(content)
        start(tmp_path).run('one', command, seconds=1)
    assert runs.read_text() == 'xx'


def test_stage__stopped_goes_on_with_resume(tmp_path, capsys):
    words = tmp_path / 'words'
    code = (
        'import sys, pathlib; p = pathlib.Path(sys.argv[1]); '
        "p.write_text(' '.join(sys.argv[2:])); sys.exit('--resume' not in sys.argv)"
    )
    with pytest.raises(SystemExit, match='one failed with exit status 1; whole log: .*one.log'):
        start(tmp_path).run('one', ['-c', code, str(words)], 1, resume=True)
    assert words.read_text() == ''
    start(tmp_path).run('one', ['-c', code, str(words)], 1, resume=True)
    assert words.read_text() == '--resume'


def test_stage__that_a_signal_has_stopped_has_not_failed(tmp_path):
    with pytest.raises(SystemExit, match='Stopped; run it again to go on'):
        start(tmp_path).run('one', ['-c', 'raise SystemExit(75)'], 1)


def test_stage__a_changed_run_does_not_go_on_from_the_checkpoints_of_the_old_one(tmp_path):
    out = tmp_path / 'work/one'
    save = 'import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.mkdir(exist_ok=True); '
    save += "(p / 'iter_9.pth').write_text('old'); (p / 'last_checkpoint').write_text('iter_9.pth')"
    start(tmp_path).run('one', ['-c', save, str(out)], 1, resume=True)
    assert (out / 'iter_9.pth').is_file()
    killed = ['-c', 'import sys; sys.exit(1)', 'changed']  # before its first checkpoint
    with pytest.raises(SystemExit):
        start(tmp_path).run('one', killed, 1, resume=True)
    assert not list(out.iterdir())  # nothing that --resume could take


def test_paths__typed_anywhere_are_seen_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quickstart.seen_from_root(Path('runs')) == tmp_path.resolve() / 'runs'
    assert quickstart.seen_from_root(quickstart.ROOT / 'data/x') == Path('data/x')
    monkeypatch.chdir(quickstart.ROOT)
    assert quickstart.seen_from_root(Path('data/x')) == Path('data/x')


def test_stage__progress_is_shown_and_all_output_is_kept(tmp_path, capsys):
    line = 'mmengine - INFO - Iter(train) [  50/400]  lr: 1e-3  eta: 0:00:33  time: 1  loss: 0.08'
    start(tmp_path).run('one', ['-c', f'print("quiet"); print("{line}")'], seconds=7)
    shown = capsys.readouterr().out
    assert 'step 50/400, loss 0.08, ETA 0:00:33' in shown and 'quiet' not in shown
    assert (tmp_path / 'work/stages/one.log').read_text() == f'quiet\n{line}\n'


def test_stage__has_the_threads_that_were_measured(tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '9')
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])"
    start(tmp_path).run('one', ['-c', code], 1)
    assert (tmp_path / 'work/stages/one.log').read_text() == '3 3\n'


def test_options__seed_data_and_checkpoints_of_earlier_stages(tmp_path):
    for stage in ('tokenizer', 'pretrain'):
        (tmp_path / 'work' / stage).mkdir(parents=True)
        (tmp_path / 'work' / stage / 'last_checkpoint').write_text('/elsewhere/iter_9.pth')
    chain = start(tmp_path)
    for name, _, _ in quickstart.TRAININGS:
        config = quickstart.config_of(name)
        given = dict(option.split('=', 1) for option in chain.options(name, config))
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            root = Path(given[f'{loader}.dataset.data_root'])
            assert root.is_relative_to(tmp_path / 'data')
        before = {key: value for key, value in given.items() if key.endswith('.checkpoint')}
        wanted = {'tokenizer': {}, 'cls_scratch': {}, 'seg_scratch': {}}.get(
            name, {'model.backbone.init_cfg.checkpoint': str(tmp_path / 'work/pretrain/iter_9.pth')}
        )
        if name == 'pretrain':
            wanted = {
                'model.tokenizer.init_cfg.checkpoint': str(tmp_path / 'work/tokenizer/iter_9.pth')
            }
        assert before == wanted


def test_both_sides_of_a_comparison__have_the_same_budget():
    for task in ('cls', 'seg'):
        beit, scratch = (quickstart.config_of(f'{task}_{kind}') for kind in ('beit', 'scratch'))
        assert beit.train_dataloader == scratch.train_dataloader
        assert beit.train_cfg == scratch.train_cfg
        assert beit.param_scheduler == scratch.param_scheduler
        assert beit.optim_wrapper.optimizer == scratch.optim_wrapper.optimizer
        beit.model.backbone.init_cfg = None
        assert json.dumps(beit.model) == json.dumps(scratch.model)


def test_sigterm__lets_the_stage_save_and_leaves_no_process(tmp_path):
    saved, ready = tmp_path / 'saved', tmp_path / 'ready'
    code = (
        'import pathlib, signal, sys, time\n'
        'def stop(*_): pathlib.Path(sys.argv[1]).write_text("x"); sys.exit(75)\n'
        'signal.signal(signal.SIGTERM, stop)\n'
        'pathlib.Path(sys.argv[2]).write_text("x")\n'
        'print("x" * 200_000, flush=True)\n'
        'time.sleep(60)\n'
    )

    def when_ready():
        while not ready.exists():
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stages.terminate)
    try:
        threading.Thread(target=when_ready).start()
        with pytest.raises(SystemExit, match='run it again to go on'):
            start(tmp_path).run('one', ['-c', code, str(saved), str(ready)], 1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert saved.read_text() == 'x'
