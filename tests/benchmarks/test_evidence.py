import json
import sys

import cv2
import numpy as np
import pytest

from beit_mm.cli import train
from benchmarks.evidence import __main__ as tool
from benchmarks.evidence import cifar10, page
from benchmarks.evidence.bench import Bench
from benchmarks.evidence.camvid import image_list


def write_images(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = np.random.randint(0, 256, (4, 4, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.jpg'), cv2.resize(coarse, (32, 32)))


@pytest.fixture
def bench(tmp_path):
    (tmp_path / 'data').mkdir()
    return Bench(tmp_path / 'out', tmp_path / 'data', quick=True)


def test_cell__is_done_once_and_again_for_other_inputs(bench):
    calls = []

    def compute(resume):
        calls.append(resume)
        return dict(metrics=dict(x=len(calls)))

    first = bench.cell('a/b', 'text', (), compute, kind='cls')
    assert bench.cell('a/b', 'text', (), compute, kind='cls') == first and calls == [False]
    assert bench.cell('a/b', 'other', (), compute, kind='cls')['metrics'] == dict(x=2)
    assert bench.cell('a/b', 'other', (first,), compute, kind='cls')['metrics'] == dict(x=3)
    assert calls == [False, False, False]


def test_cell__goes_on_only_where_the_same_was_begun(bench):
    seen = []

    def stop(resume):
        seen.append(resume)
        raise KeyboardInterrupt

    for inputs in ('text', 'text', 'other'):
        with pytest.raises(KeyboardInterrupt):
            bench.cell('a', inputs, (), stop)
    assert seen == [False, True, False]
    assert page.collect(bench.out) == []  # nothing is finished


def test_labels__are_balanced_and_more_of_them_contain_fewer(bench):
    for number in range(10):
        write_images(bench.data / 'train' / f'class{number}', 6)
    tables = {}
    for labels, seed in ((20, 0), (40, 0), (20, 1)):
        rows = cifar10.label_table(bench, labels, seed).read_text().split()[1:]
        classes = [row.split(',')[1] for row in rows]
        assert sorted(classes) == sorted(
            f'class{n}' for n in range(10) for _ in range(labels // 10)
        )
        tables[labels, seed] = set(rows)
    assert tables[20, 0] < tables[40, 0] and tables[20, 0] != tables[20, 1]


def test_image_list__more_masks_contain_fewer(bench, tmp_path):
    write_images(tmp_path / 'root/images/train', 40)
    half, tenth, other = (
        set(image_list(bench, tmp_path / 'root', share, seed).read_text().split())
        for share, seed in ((50, 0), (10, 0), (50, 1))
    )
    assert len(half) == 20 and len(tenth) == 4 and tenth < half and half != other


@pytest.mark.slow
def test_cifar10__quick_to_its_end_and_nothing_twice(tmp_path, monkeypatch):
    for part, count in (('train', 4), ('test', 1)):
        for number in range(10):
            write_images(tmp_path / 'data' / part / f'class{number}', count)
    words = ['--data', str(tmp_path / 'data'), '--out', str(tmp_path / 'out'), '--quick']
    words += ['--seeds', '0', '--labels', '40', '--long-seeds', '--methods', 'beit', 'mae']
    words += ['--pretrain-seeds', '1']
    monkeypatch.setattr(sys, 'argv', ['evidence', 'cifar10', *words])
    tool.main()
    found = [json.loads(path.read_text()) for path in (tmp_path / 'out/records').rglob('*.json')]
    kinds = sorted(record['kind'] for record in found)
    trained = ['cls'] * 5 + ['pretrain'] * 4
    assert kinds == [*trained, *['probes'] * 2, *['select'] * 3, 'tokenizer']
    monkeypatch.setattr(train, 'main', lambda arguments: pytest.fail('trained again'))
    tool.main()
    assert page.collect(tmp_path / 'out') == []  # quick figures never reach the page


def run(kind, start, accuracy, **more):
    facts = dict(kind=kind, start=start, labels=400, rate=1e-3, steps=400, variant='', seed=0)
    facts |= dict(name=f'cifar10/{kind}', metrics={'accuracy/top1': accuracy})
    return facts | more


def test_tables__mean_range_and_what_is_missing():
    starts = [run('select', 'scratch', 20.0), run('select', 'scratch', 21.0, rate=2e-3)]
    runs = [*starts, run('cls', 'scratch', 10.0), run('cls', 'scratch', 13.0)]
    runs += [run('cls', 'beit-1000-s0', 99.0)]  # of another table
    runs += [run('cls', 'scratch', 99.0, variant='mixup')]  # so is this
    text = page.fill('a\n<!-- table: few-labels -->\nold\n<!-- end -->\nb', runs)
    assert text.startswith('a\n<!-- table: few-labels -->\n| labels |') and 'old' not in text
    assert text.endswith(
        '| 400 | random weights | 400 | 0.001 | 11.5 (10.0 to 13.0) | 2 |\n<!-- end -->\nb'
    )
    assert '| random weights | 400 | 400 | 20.0 | 21.0 |' in page.rates(runs)
    pretrained = run('pretrain', '', 0.0, name='cifar10/pretrain-beit-1000-s0', method='beit')
    pretrained |= dict(steps=cifar10.SHORT_STEPS, cpu_seconds=50.0, resumed=False)
    row = page.TABLES['peers']([*runs, pretrained]).splitlines()[-1]
    assert row == '| BEiT |  | 1 | 1000 | 50 | not run | not run | 99.0 | not run |'


def test_page__its_tables_are_those_of_the_records():
    text = page.PAGE.read_text()
    assert page.fill(text, json.loads(page.RUNS.read_text())) == text


def test_gains__are_over_the_best_of_random_weights():
    runs = [run('select', start, 0.0) for start in ('scratch', 'beit-1-s0')]
    runs += [run('cls', 'scratch', 20.0, seed=0), run('cls', 'scratch', 10.0, seed=0, rate=2e-3)]
    runs += [run('cls', 'beit-1-s0', 21.0, seed=0), run('cls', 'beit-1-s0', 9.0, seed=1)]
    rows = page.gains(runs).splitlines()[2:]
    assert rows == ['| CIFAR-10, 400 labels | BEiT, 1 steps | 400 | 1.0 | 1 |']


def test_peer_rates__hold_the_seed_and_the_length():
    runs = [run('cls', 'hog-1000-s0', 10.0 + n, rate=rate) for n, rate in enumerate((1e-3, 2e-3))]
    runs += [run('cls', 'hog-1000-s0', 99.0, rate=4e-3, steps=1_000)]  # of another table
    runs += [run('cls', 'hog-1000-s1', 99.0, seed=1)]
    rows = page.peer_rates(runs).splitlines()[2:]
    assert rows == ['| 400 | HOG, 1,000 steps | 10.0 | 11.0 | not run |']
    assert page.title('mae-tokens-1000-s2') == "MAE with BEiT's tokens, 1,000 steps, seed 2"


def pretrained(variant, seed, linear):
    start = f'beit-{variant}1000-s{seed}'
    facts = dict(method='beit', variant=variant.strip('-'), seed=seed, cpu_seconds=50.0)
    facts |= dict(steps=cifar10.SHORT_STEPS, resumed=False, name=f'cifar10/pretrain-{start}')
    layers = [dict(knn=10.0, linear=linear)]
    return [run('pretrain', '', 0.0, **facts), run('probes', start, 0.0, layers=layers)]


def test_ablations__differ_from_the_pre_training_of_the_same_seed():
    runs = [*pretrained('', 0, 40.0), *pretrained('', 1, 50.0)]
    runs += [*pretrained('wide-', 0, 41.0), *pretrained('wide-', 1, 48.0)]
    rows = page.TABLES['ablations'](runs).splitlines()[2:]
    assert '45.0 (40.0 to 50.0)' in rows[0]
    assert '| BEiT | wide | 2 | 1000 | 50 | +0.0 (+0.0 to +0.0) | -0.5 (-2.0 to +1.0) |' in rows[1]


def test_recipe__differs_from_the_fine_tuning_of_the_same_seed():
    runs = [run('select', 'beit-6000-s0', 0.0)]
    runs += [run('cls', 'beit-6000-s0', 40.0 + seed, seed=seed) for seed in (0, 1, 2)]
    runs += [run('cls', 'beit-6000-s0', 45.0, seed=1, variant='frozen')]
    runs += [run('cls', 'beit-1000-s0', 99.0, variant='frozen')]  # of another table
    assert page.recipe(runs).splitlines()[2:] == [
        '| 400 | BEiT, 6,000 steps | none | 400 | 41.0 (40.0 to 42.0) | 3 |',
        '| 400 | BEiT, 6,000 steps | frozen | 400 | +4.0 | 1 |',
    ]
