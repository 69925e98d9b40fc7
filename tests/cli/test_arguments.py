import importlib
import os
import re
from argparse import ArgumentTypeError, Namespace

import pytest
from mmengine.config import Config

from beit_mm.cli.arguments import (
    choose_work_dir,
    config_parser,
    parse_with_launcher,
    positive_float,
    positive_int,
)
from beit_mm.contracts import UserError


def test_work_dir__named_after_the_config_unless_one_is_given():
    given, nothing = Namespace(config='a/b.py', work_dir='x'), Namespace(config='a/b.py')
    nothing.work_dir = None
    assert choose_work_dir(Config(dict(work_dir='own')), given) == 'x'
    assert choose_work_dir(Config(dict(work_dir='own')), nothing) == 'own'
    assert choose_work_dir(Config(dict(work_dir=None)), nothing) == 'work_dirs/b'
    assert choose_work_dir(Config(dict(work_dir=5)), nothing) == '5'


def test_launcher__says_which_process_this_is(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '')
    monkeypatch.delenv('LOCAL_RANK')
    arguments = ['a.py', '--launcher', 'pytorch', '--local-rank', '3', '--cfg-options', 'a.b=1']
    args = parse_with_launcher(config_parser('Do it'), arguments)
    assert (args.config, args.launcher, args.cfg_options) == ('a.py', 'pytorch', {'a.b': 1})
    assert os.environ['LOCAL_RANK'] == '3'
    parse_with_launcher(config_parser('Do it'), ['a.py'])  # what the launcher has set stays
    assert os.environ['LOCAL_RANK'] == '3'


@pytest.mark.parametrize(
    'kind, good, bad', [(positive_int, '1', '0'), (positive_float, '.5', 'nan')]
)
def test_numbers__are_positive(kind, good, bad):
    assert kind(good) == float(good)
    for text in (bad, '-1'):
        with pytest.raises(ArgumentTypeError, match=f'{text}: expected'):
            kind(text)


def test_work_dir__whose_copy_of_the_config_leads_elsewhere(tmp_path):
    (tmp_path / 'victim').write_text('precious')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'b.py').symlink_to(tmp_path / 'victim')
    args = Namespace(config='a/b.py', work_dir=str(tmp_path / 'run'))
    with pytest.raises(UserError, match='b.py is a link'):
        choose_work_dir(Config(), args)


OUTPUTS = [
    ('test', 'a.py b.pth --out {}', 'metrics.json'),
    ('test', 'a.py b.pth --show-dir {}', 'pictures'),
    ('probe', 'b.pth --images gone --out {}', 'probe.csv'),
    ('check_dataset', 'a.py --out {}', 'report.json'),
    ('browse_dataset', 'a.py --out {}', 'sheet.png'),
    ('report', 'gone --out {}', 'page.html'),
    ('report', 'gone --figure {}', 'figure.svg'),
    ('visualize_tokenizer', 'a.py b.pth --out {}', 'pictures'),
]


@pytest.mark.parametrize('verb, words, name', OUTPUTS)
def test_outputs__are_not_overwritten_without_a_word(tmp_path, monkeypatch, verb, words, name):
    """It is said before anything is read: there is neither config nor checkpoint."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / name
    own = out / 'mine.png' if name == 'pictures' else out
    own.parent.mkdir(exist_ok=True)
    own.write_text('precious')
    main = importlib.import_module(f'beit_mm.cli.{verb}').main
    arguments = words.format(out).split()
    said = f'{out} exists already; name another {arguments[-2]}, or say --overwrite'
    with pytest.raises(UserError, match=re.escape(said)):
        main(arguments)
    assert own.read_text() == 'precious'
    with pytest.raises(UserError) as other:
        main([*arguments, '--overwrite'])
    assert 'exists already' not in str(other.value)
