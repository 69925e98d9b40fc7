import json
import logging

import pytest
import work_dirs

from beit_mm.cli import report
from beit_mm.contracts import MissingFileError, UserError


@pytest.fixture
def runs(tmp_path):
    """Two runs whose figures are 0, 1, 2, ... and 10 more."""
    for run in range(2):
        metrics = {}
        for number, (stage, key, _) in enumerate(report.ROWS):
            metrics.setdefault(stage, {})[key] = number + 10 * run
        for stage, figures in metrics.items():
            folder = tmp_path / f'run{run}' / stage
            folder.mkdir(parents=True)
            (folder / 'metrics.json').write_text(json.dumps(figures))
    return [tmp_path / 'run0', tmp_path / 'run1']


def test_table__mean_and_range(runs):
    assert report.make_table(runs[:1])[3] == ['pre-training: masked-token accuracy (%)', '3.00']
    table = report.make_table(runs)
    assert [row[1:] for row in table[:2]] == [
        ['5.00', '0.00 to 10.00 over 2 runs'],
        ['6.00', '1.00 to 11.00 over 2 runs'],
    ]
    lines = report.as_text(table).splitlines()
    assert len(lines) == len(report.ROWS) == 11
    assert lines[0].split('   ')[-1] == '0.00 to 10.00 over 2 runs'
    assert len({line.index('.00') for line in report.as_text(table[:5]).splitlines()}) == 1


@pytest.mark.parametrize('other', ['data', 'length', None])
def test_table__chains_of_other_images_or_lengths_have_no_mean(tmp_path, other):
    for name, score in (('a', 12.0), ('a longer name', 14.0)):
        is_other = name != 'a'
        data = dict(type='UnlabelledImageFolder', data_root=name if other == 'data' else 'x')
        config = work_dirs.with_data(work_dirs.made.pretraining(), **data)
        work_dirs.write_run(
            tmp_path / name / 'pretrain',
            config,
            [work_dirs.val(4, mim__accuracy=score)],
            weights=False,
            planned=8 if other == 'length' and is_other else 4,
        )
    title, mean = 'pre-training: masked-token accuracy (%)', ['13.00', '12.00 to 14.00 over 2 runs']
    table = report.make_table([tmp_path / 'a', tmp_path / 'a longer name'])
    if other is None:
        assert table == [[title, *mean]]
    else:
        assert table[1:] == [[title, '12.00', '14.00']]
        assert report.as_text(table[:1]).endswith('so no mean: a, a longer name')
        assert report.as_text(table).endswith('   12.00     14.00')


def test_table__an_unfinished_run_is_named(runs):
    path = runs[1] / 'cls_probe/metrics.json'
    path.unlink()
    with pytest.raises(MissingFileError, match=f'{path} is missing; run tools/quickstart.sh'):
        report.make_table(runs)
    rest = report.make_table(runs, is_complete=False)
    assert [row[0] for row in rest] == [
        title for stage, _, title in report.ROWS if stage != 'cls_probe'
    ]


def test_report__of_chains_that_differ(runs, tmp_path, capsys):
    (runs[1] / 'cls_probe/metrics.json').unlink()
    report.main([*map(str, runs), '--out', str(tmp_path / 'page.html')])
    assert 'Trainings side by side' in (tmp_path / 'page.html').read_text()
    assert 'linear probe' not in capsys.readouterr().out


def test_table__stages_that_a_chain_does_not_have(tmp_path):
    """And figures of the last validation, where nothing was tested."""
    entries = [work_dirs.val(4, mim__accuracy=12.0, mim__loss=3.0)]
    config = work_dirs.made.pretraining()
    work_dirs.write_run(tmp_path / 'pretrain', config, entries, weights=False)
    assert report.make_table([tmp_path]) == [
        ['pre-training: masked-token accuracy (%)', '12.00'],
        ['pre-training: loss (nats)', '3.00'],
    ]


def test_report__logs_nothing_between_its_sentences_and_its_table(tmp_path, monkeypatch):
    levels = []

    def make_table(*_, **__):
        levels.append(logging.root.manager.disable)
        return []

    monkeypatch.setattr(report, 'make_table', make_table)
    work_dirs.write_run(tmp_path / 'tokenizer', work_dirs.made.tokenizer())
    report.main([str(tmp_path)])
    assert levels == [logging.WARNING]


@pytest.mark.slow
def test_report__page_figure_words_and_table(tmp_path, capsys):
    chain = work_dirs.write_chain(tmp_path / 'chain', tmp_path / 'data')
    figure = tmp_path / 'figure.svg'
    report.main([str(chain), '--figure', str(figure)])
    page = (chain / 'report.html').read_text()
    assert '<title>chain</title>' in page and page.count('<figure>') > 50
    assert figure.read_text().count('<image') == 6 * 8
    shown = capsys.readouterr().out
    assert '+ Pre-training helps. Classification: cls_beit' in shown
    assert 'tokenizer: perplexity (of 16)' in shown and 'INFO' not in shown
    assert f'Pictures and curves: {chain / "report.html"}' in shown
    out = tmp_path / 'new' / 'page.html'
    report.main([str(chain / 'tokenizer'), str(chain / 'pretrain'), '--out', str(out)])
    assert 'Trainings side by side' in out.read_text()
    with pytest.raises(UserError, match='needs a pre-training and two segmentations'):
        report.main([str(chain / 'tokenizer'), '--figure', str(tmp_path / 'other.svg')])


def test_table_alone__writes_no_page(runs, capsys):
    report.main(['--table', *map(str, runs)])
    assert 'over 2 runs' in capsys.readouterr().out
    assert not list(runs[0].glob('*.html'))
