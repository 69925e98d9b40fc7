import pytest
from mmengine.config import Config

from benchmarks import reliability_page
from benchmarks.reliability_page import CHAOS, FUZZ, write_page

NAMES = [file.stem.removeprefix('test_') for file in FUZZ]


@pytest.fixture
def results():
    machine = dict(system='Linux', torch='2.7')
    found = {}
    for number, name in enumerate(NAMES, 1):
        tried = {f'a.py::test_{name}__holds': 1000 * number}
        found[name] = dict(tried=tried, skipped=0, failed=[], seconds=1800, machine=machine)
    row = dict(reached=7, saved=5, writing=True)
    for kind in CHAOS:
        result = dict(rows=[row, row], found=[], seconds=0, machine=machine)
        found[f'chaos-{kind}'] = result
    shared = dict(seconds=0, machine=machine)
    report = dict(thread='a/b#7', kind='It fails', now='warning', words='x | y')
    found['reports_of_runs'] = dict(reports=[report], failed=[], **shared)
    found['hand-masks'] = dict(tried={}, tests=9, skipped=2, failed=[], **shared)
    counts = {'configs': 30, 'with errors': 2, 'with errors, where MMEngine fails too': 2}
    found['configs'] = dict(libraries=dict(mmseg=counts), found=[], **shared)
    stop = dict(reached=9, last=9, statuses=[75], saved=True)
    found['stops'] = dict(stops=[stop, dict(stop, saved=False)], found=['stop at 9'], **shared)
    return found


def rows_of(page, heading):
    table = page.split(heading)[1].split('\n\n')[0]
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()]


def test_page__sums_of_inputs_faults_and_kills(results):
    page = write_page(results, [], 'run it')
    *rows, total = rows_of(page, '| Area |')
    faults = 1000 * (NAMES.index('disk_faults') + 1)
    inputs = 1000 * sum(range(1, len(NAMES) + 1)) - faults
    assert total == ['all', f'{inputs + 1 + 7 + 30:,}', f'{faults:,}', '8', '1']
    assert len(rows) == 1 + 1 + len(NAMES) + 3 + 4  # the rest of the heading
    link = '[a/b 7](https://github.com/a/b/issues/7)'
    assert f'| It fails | {link} | warning: x \\| y |' in page
    assert '| mmseg | 30 | 0 | 2 | 2 | 0 | 0 |' in page
    assert '9 (9), 9 (9); 1 of 2 saved.' in page and '\nrun it\n' in page
    assert f'({len(NAMES) / 2:.1f} hours' in page
    assert f'| {NAMES[0].replace("_", " ")}: holds | 1,000 |' in page
    kills = 'Killed in iteration (last checkpoint): 7 (5), 7 (5); 2 of them'
    assert ' '.join(page.split()).count(kills) == 3
    assert page.endswith('\n## Machine\n\nsystem Linux, torch 2.7.\n')
    assert 'Failed' not in page and 'Not tried' not in page and '\n\n\n' not in page


def test_page__names_what_did_not_survive_or_was_not_tried(results):
    results[NAMES[0]]['failed'] = ['test_one', 'test_two']
    results['chaos-two']['found'] = ['checkpoint.state_dict.a']
    del results['chaos-iter']
    page = write_page(results, ['chaos-iter'], 'run it')
    assert 'Failed: test_one, test_two.' in page
    assert 'Not tried for this page: chaos-iter.' in page
    assert rows_of(page, '| Area |')[-1][-1] == '4'
    assert 'left alone: 1.' in ' '.join(page.split())


@pytest.mark.parametrize('kind', CHAOS)
def test_chaos__trainings_log_each_step_and_save_often(kind):
    config = Config.fromfile(CHAOS[kind])
    hooks = config.default_hooks
    assert (hooks.logger.interval, hooks.checkpoint.interval) == (1, 7)
    assert config.custom_hooks[0].type == 'EMAHook'
    assert 'Resumable' in config.train_cfg.type
    assert (
        reliability_page.first_sentence(CHAOS[kind])
        .split(':')[0]
        .endswith('processes' if kind == 'two' else 'process')
    )
