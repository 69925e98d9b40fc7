import argparse
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from sklearn.linear_model import LogisticRegression

from beit_mm.engine.launch import UserError

ROOT = Path(__file__).resolve().parents[3]
spec = importlib.util.spec_from_file_location(
    'compare_tokenizers', ROOT / 'tools/analysis_tools/compare_tokenizers.py'
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def comparison(tmp_path):
    args = argparse.Namespace(
        tokenizers=[],
        data=tmp_path / 'data',
        work_dir=tmp_path / 'work',
        pretrain=ROOT / 'configs/pretrain/beit_beit-micro-p8_digit-scenes.py',
        steps=600,
        labelled='meta/list.txt',
        seed=3,
        speed=False,
        smoke=False,
    )
    return tool.Comparison(args)


def clusters():
    means = 3 * torch.randn(4, 6)
    labels = torch.arange(160) % 4
    return means[labels] + torch.randn(160, 6), labels


def test_linear_probe__against_scikit_learn():
    feats, labels = clusters()
    train, val = feats[:120], feats[120:]
    standard = [(part - train.mean(0)) / train.std(0) for part in (train, val)]
    # Its penalty is |w|^2 / (2 C n) beside the mean loss.
    reference = LogisticRegression(C=1 / (2 * 120 * tool.PROBE_DECAY), max_iter=1000)
    reference.fit(standard[0].numpy(), labels[:120].numpy())
    got = tool.linear_probe(train, labels[:120], val)
    assert (got.numpy() == reference.predict(standard[1].numpy())).mean() > 0.97
    assert tool.accuracy(got, labels[120:]) > 80


def test_knn__votes_of_the_nearest_by_cosine():
    train = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 5.0], [0.1, 9.0]])
    labels = torch.tensor([0, 0, 1, 1])
    val = torch.tensor([[100.0, 1], [0.01, 1]])
    assert tool.knn(train, labels, val).tolist() == [0, 1]
    feats, labels = clusters()
    assert tool.accuracy(tool.knn(feats[:120], labels[:120], feats[120:]), labels[120:]) > 80


def test_mim_config__the_schedule_in_proportion_and_the_tokenizer_in_its_place(comparison):
    before = comparison.pretrain.pretty_text
    tokenizer = Config(dict(type='FSQTokenizer', levels=[5, 3])).to_dict()
    config = comparison.mim_config(tokenizer, 15)
    assert comparison.pretrain.pretty_text == before
    assert config.model.tokenizer == tokenizer and config.model.head.vocab_size == 15
    assert config.train_cfg.max_iters == config.train_cfg.val_interval == 600
    assert [(s.begin, s.end) for s in config.param_scheduler] == [(0, 48), (48, 600)]
    assert config.train_dataloader.dataset.data_root == str(comparison.data / 'unlabelled')
    assert config.val_dataloader.dataset.data_root == str(comparison.data / 'val')
    assert config.randomness.seed == 3


def test_stage__computed_again_only_when_something_changed(comparison, tmp_path):
    weights = tmp_path / 'weights.pth'
    weights.write_bytes(b'1')
    calls = []

    def compute():
        calls.append(1)
        return dict(x=len(calls))

    def figures(inputs):
        return comparison.stage(tmp_path / 'a/quality.json', inputs, [str(weights)], compute)

    assert figures([1]) == figures([1]) == dict(x=1)
    assert figures([2]) == dict(x=2)
    weights.write_bytes(b'2')
    assert figures([2]) == dict(x=3)


def test_train__finished_ones_are_skipped_and_others_start_anew(comparison, monkeypatch):
    commands = []

    def call(command, **kwargs):
        commands.append(command)
        out = Path(command[command.index('--work-dir') + 1])
        assert not list(out.glob('*.pth'))
        (out / 'iter_9.pth').touch()
        return 0

    monkeypatch.setattr(tool.subprocess, 'call', call)
    config = Config(dict(train_cfg=dict(max_iters=9), seed=0))
    for _ in range(2):
        assert Path(comparison.train('a', 'tokenizer', config)).name == 'iter_9.pth'
    assert len(commands) == 1 and '--resume' in commands[0]
    config.seed = 1
    comparison.train('a', 'tokenizer', config)
    assert len(commands) == 2


def test_train__a_failure_shows_the_end_of_its_log(comparison, monkeypatch):
    def call(command, stdout, **kwargs):
        stdout.write('first\nthe vocabulary has collapsed\n')
        return 1

    monkeypatch.setattr(tool.subprocess, 'call', call)
    with pytest.raises(UserError, match='(?s)has collapsed.*a, tokenizer: exit status 1'):
        comparison.train('a', 'tokenizer', Config(dict(train_cfg=dict(max_iters=9))))


def test_write__table_and_json_with_gaps(comparison):
    rows = [dict(name='a', psnr=20.127, vocab_size=256), dict(name='b', knn=1.0)]
    comparison.write(rows)
    lines = (comparison.work_dir / 'table.md').read_text().splitlines()
    assert lines[0].startswith('| tokenizer | V |') and '| a | 256 |  | 20.13 |' in lines[2]
    assert '| 1.00 |' in lines[3] and 'compare_tokenizers.py' in lines[-1]
    stored = json.loads((comparison.work_dir / 'results.json').read_text())
    assert stored['tokenizers'] == rows and stored['seed'] == 3


def test_entries__names_twice_and_missing_checkpoints(comparison):
    config = 'configs/tokenizer/fsq_8x6x5-v240_digit-scenes.py'
    with pytest.raises(UserError, match='no checkpoint nowhere.pth'):
        comparison.entry(f'{config}=nowhere.pth')
    comparison.args.tokenizers = [config, config]
    with pytest.raises(UserError, match='more than once'):
        comparison.run()


def test_labelled__lines_and_folders(comparison):
    (comparison.data / 'meta').mkdir(parents=True)
    (comparison.data / 'meta/list.txt').write_text('7/a b.png 7\n\n0/c.png 0\n')
    assert comparison.labelled() == [
        (comparison.data / 'train/7/a b.png', 7),
        (comparison.data / 'train/0/c.png', 0),
    ]
    for name in ('cat/2.png', 'cat/1.png', 'ant/3.png'):
        (comparison.data / 'val' / name).parent.mkdir(parents=True, exist_ok=True)
        (comparison.data / 'val' / name).touch()
    rows = [(path.name, label) for path, label in comparison.validation()]
    assert rows == [('3.png', 0), ('1.png', 1), ('2.png', 1)]


def test_default__configs_exist():
    assert all((ROOT / path).is_file() for path in tool.DEFAULT)
