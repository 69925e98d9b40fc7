import argparse

import pytest
from mmengine.config import Config

from beit_mm.cli.config_options import ConfigOptions, merge_options
from beit_mm.contracts import UserError


@pytest.mark.parametrize(
    'options, message',
    [
        ({'p.9.size': 3}, "p.9.size: p is a list, '9' is not .* 2 entries: 0 Load, 1 7"),
        ({'p.size': 3}, "p.size: p is a list, 'size'"),
        ({'p.0': 3}, 'p.0: an entry of a list cannot be replaced.*all of p'),
        ({'p.1.size': 3}, 'p.1.size: an entry of a list'),
        (
            {'a.arch.dims': 3},
            "a.arch='base' in the config is not a dict .*add a.arch._delete_=True",
        ),
        ({'a.none.dims': 3}, 'a.none=None'),
        ({'a.new': 3, 'a.new.b': 4}, 'both a.new and a.new.b'),
    ],
)
def test_options__that_do_not_fit_the_config(options, message):
    config = Config(dict(a=dict(arch='base', none=None), p=[dict(type='Load'), 7]))
    with pytest.raises(UserError, match=message):
        merge_options(config, options)


def test_options__that_fit():
    config = Config(dict(a=dict(arch='base'), p=[dict(type='Load'), 7]))
    merge_options(
        config, {'p.0.size': 3, 'a.arch.dims': 4, 'a.arch._delete_': True, 'new.x.y': 5, 'a.b': 6}
    )
    assert config.to_dict() == dict(
        a=dict(arch=dict(dims=4), b=6), p=[dict(type='Load', size=3), 7], new=dict(x=dict(y=5))
    )


@pytest.mark.parametrize(
    'text, message',
    [
        ('train_dataloader', "--cfg-options: 'train_dataloader' is not KEY=VALUE"),
        ('=3', 'is not KEY=VALUE'),
        ('a.arch=dict(dims=3)', 'a.arch.NAME=VALUE; with a.arch._delete_=True'),
        ('a=[1,(2]', r'a=[1,(2]: Imbalanced brackets'),
    ],
)
def test_options__that_cannot_be_read(text, message, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'b=1', text])
    assert message in capsys.readouterr().err
    read = parser.parse_args(['--cfg-options', 'b=[1,2]', 'c.d=x=y', '--cfg-options', 'e=1e-4'])
    assert read.cfg_options == {'b': [1, 2], 'c.d': 'x=y', 'e': 1e-4}


@pytest.mark.parametrize('text, meant', [('no', False), ('off', False), ('Yes', True)])
@pytest.mark.parametrize('key', ['resume', 'a.b.flag', 'a.steps.0.flag'])
def test_text_for_true_or_false__is_refused(text, meant, key):
    config = Config(dict(resume=False, a=dict(b=dict(flag=True), steps=[dict(flag=False)])))
    with pytest.raises(UserError, match=f'which counts as True; write {key}={meant}'):
        merge_options(config, {key: text})
    merge_options(config, {key: meant})
