"""A report on the work dir of somebody else runs nothing of it, and waits for nothing."""

import os
import textwrap

import pytest
from mmengine.config import Config
from tiny_training import tiny_config

from beit_mm.apis.reports.run import find_runs
from beit_mm.apis.reports.run_data import read_data
from beit_mm.apis.reports.verdict import judge
from beit_mm.apis.reports.written_config import read_written

RUNS = "__import__('pathlib').Path('ran').touch()"


def work_dir(tmp_path, config: str):
    folder = tmp_path / 'theirs'
    (folder / 'time/vis_data').mkdir(parents=True)
    (folder / 'scalars.jsonl').write_text('{"kind": "train", "iter": 1, "loss": 1.0}\n')
    (folder / 'time/vis_data/config.py').write_text(config)
    return folder


@pytest.mark.parametrize(
    'config',
    [
        RUNS,
        f'a = {RUNS}',
        f'model = dict(type=dict, a=[{RUNS}])',
        f'model = dict(**{RUNS})',
        f'@{RUNS}\ndef f(): pass',
        f'class A({RUNS}): pass',
        "import os\nos.mkdir('ran')",
        "a, b = 1, __import__('os').mkdir('ran')",
        'a = f\'{__import__("os").mkdir("ran")}\'',
        'dict.a = 1',
        '(' * 10_000,
    ],
)
def test_code__is_named_and_not_run(tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    (run,) = find_runs([work_dir(tmp_path, config)])
    assert run.config is None and 'config.py cannot be read' in run.problems[0]
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('kind', ['os.mkdir', 'evil', 'evil.Data', 'mmengine.mkdir_or_exist'])
def test_types__of_no_library_here_are_not_imported(tmp_path, monkeypatch, kind):
    (tmp_path / 'evil.py').write_text("import os\nos.mkdir('ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    data = f"dict(type='{kind}', path='ran', dir_name='ran', data_root='.', pipeline=[])"
    imports = "custom_imports = dict(imports=['evil'])\n"
    (run,) = find_runs([work_dir(tmp_path, f'{imports}val_dataloader = dict(dataset={data})')])
    found, reason = read_data(run, ['val_dataloader'])
    assert run.config is not None and found is None and not (tmp_path / 'ran').exists()
    assert 'BEIT_MM_TRUST_CHECKPOINT=1' in reason


@pytest.mark.parametrize(
    'more',
    [
        dict(type='BaseDataset', ann_file='evil.pkl'),
        dict(type='BaseDataset', ann_file='evil.yaml'),
        dict(type='mmseg.BaseSegDataset', ann_file='evil.pkl'),
        dict(type='mmpretrain.CIFAR10'),
        dict(type='mmpretrain.MNIST'),
        dict(type='CustomDataset', ann_file='pipe'),
        dict(type='CustomDataset', data_root='https://h/x'),
        dict(type='beit_mm.UnlabelledImageFolder', _scope_='evil'),
        dict(type='CustomDataset', scope='evil'),
    ],
)
def test_data_sets__that_run_download_or_wait_are_not_built(tmp_path, monkeypatch, more):
    package = tmp_path / 'evil'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'registry.py').write_text("import os\nos.mkdir('ran')")
    (tmp_path / 'evil.yaml').write_text('!!python/object/apply:os.mkdir ["ran"]')
    (tmp_path / 'evil.pkl').write_bytes(b"cos\nmkdir\n(S'ran'\ntR.")
    os.mkfifo(tmp_path / 'pipe')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    scope = more.pop('scope', 'mmpretrain')
    data = dict(data_root='', pipeline=[]) | more
    text = f'default_scope = {scope!r}\nval_dataloader = dict(dataset={data!r})'
    (run,) = find_runs([work_dir(tmp_path, text)])
    found, reason = read_data(run, ['val_dataloader'])
    assert found is None and 'cannot be read here' in reason
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    'kind', ['beit_mm.datasets.UnlabelledImageFolder', 'beit_mm.UnlabelledImageFolder']
)
def test_data_sets__by_their_whole_path(tmp_path, kind):
    (tmp_path / 'a.png').touch()
    data = dict(type=kind, data_root=str(tmp_path), pipeline=[])
    (run,) = find_runs([work_dir(tmp_path, f'val_dataloader = dict(dataset={data!r})')])
    assert len(read_data(run, ['val_dataloader'])[0]) == 1


@pytest.mark.parametrize(
    'content', ['[' * 100_000, '5', '[1]', '{"a": 1' + '0' * 400 + '}', '{"accuracy/top1": NaN}']
)
def test_metrics__of_any_kind(tmp_path, content):
    folder = work_dir(
        tmp_path, "model = dict(type='ImageClassifier', backbone=dict(), head=dict(num_classes=2))"
    )
    (folder / 'metrics.json').write_text(content)
    (run,) = find_runs([folder])
    assert all(isinstance(verdict.text, str) for verdict in judge(run))


@pytest.mark.parametrize(
    'config',
    ["model = 'abc'", 'train_cfg = [1]', "train_cfg = dict(max_iters='x')", 'randomness = 3'],
)
def test_config__of_odd_values(tmp_path, config):
    (run,) = find_runs([work_dir(tmp_path, config)])
    assert judge(run) is not None and run.is_finished in (True, False) and run.seed is None


def test_own_types__with_trust(tmp_path, monkeypatch):
    (tmp_path / 'mine.py').write_text(
        textwrap.dedent("""
            from beit_mm.datasets import UnlabelledImageFolder
            from beit_mm.registry import DATASETS

            @DATASETS.register_module(force=True)
            class MineAlone(UnlabelledImageFolder):
                def __len__(self):
                    return 3
        """)
    )
    (tmp_path / 'a.png').touch()
    monkeypatch.syspath_prepend(tmp_path)
    text = "custom_imports = dict(imports=['mine'])\nval_dataloader = dict(dataset=dict("
    text += f"type='beit_mm.MineAlone', data_root={str(tmp_path)!r}, pipeline=[]))"
    folder = work_dir(tmp_path, text)
    assert read_data(find_runs([folder])[0], ['val_dataloader'])[0] is None
    monkeypatch.setenv('BEIT_MM_TRUST_CHECKPOINT', '1')
    assert len(read_data(find_runs([folder])[0], ['val_dataloader'])[0]) == 3


@pytest.mark.parametrize('name', ['x.log', 'x.py', 'time/x.log', 'metrics.json'])
def test_pipes__are_passed_over(tmp_path, name):
    folder = work_dir(tmp_path, 'a = 1')
    os.mkfifo(folder / name)
    (folder / 'scalars.jsonl').unlink()
    os.mkfifo(folder / 'time/vis_data/scalars.json')
    (run,) = find_runs([folder])
    assert dict(run.config) == dict(a=1) and run.log == []


def test_written_config__is_that_of_mmengine(tmp_path):
    config = Config(tiny_config(str(tmp_path)) | dict(odd={'a.b': (1, -2.5, None, True, {3: 'x'})}))
    config.dump(tmp_path / 'written.py')
    path = tmp_path / 'written.py'
    assert read_written(path).to_dict() == Config.fromfile(path).to_dict()
