import os
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
