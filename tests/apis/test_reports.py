"""Reports of runs: what they say, what they show, and what they do without."""

import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import checkpoints_of_models as made
import numpy as np
import pytest
import work_dirs
from mmengine.config import Config
from work_dirs import train, val, with_data, write_run

from beit_mm.apis.reports import Report, Run, are_repeats, find_runs, pictures
from beit_mm.apis.reports.curves import draw_run_curves
from beit_mm.apis.reports.run_data import read_data
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.visualization import segmentation_overlay

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')


@pytest.fixture(scope='module')
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp('chain')
    return work_dirs.write_chain(folder / 'chain', folder / 'data')


@pytest.fixture(scope='module')
def report(chain):
    return Report(find_runs([chain]), 'A <chain>')


@pytest.fixture(scope='module')
def page(report):
    return report.render()


def said(*runs):
    return {v.text: v.mark for v in Report(find_runs(runs), '').sentences()}


def headings(page, level='h3'):
    body = ElementTree.fromstring(page[page.index('<body>') : page.index('</html>')])
    return [element.text for element in body.iter(level)]


# ---- which runs there are ----


def test_folders__that_are_work_dirs_or_hold_some(chain, tmp_path):
    names = ['tokenizer', 'pretrain', 'cls_beit', 'cls_scratch', 'seg_beit', 'seg_scratch']
    assert [run.name for run in find_runs([chain])] == names
    assert [run.name for run in find_runs([chain.parent])] == names
    assert [run.name for run in find_runs([chain / 'pretrain'])] == ['pretrain']
    two = find_runs([chain / 'seg_beit', chain / 'tokenizer'])
    assert [run.task for run in two] == ['tokenizer', 'segmentation']
    assert len(find_runs([chain, chain / 'pretrain'])) == 6  # none twice
    with pytest.raises(MissingFileError, match='nowhere'):
        find_runs([tmp_path / 'nowhere'])
    with pytest.raises(UserError, match='is no work dir and holds none'):
        find_runs([tmp_path])


def test_names__tell_runs_of_several_chains_apart(chain, tmp_path):
    for seed in ('seed0', 'seed1'):
        shutil.copytree(chain / 'tokenizer', tmp_path / seed / 'tokenizer')
    expected = ['seed0/tokenizer', 'seed1/tokenizer']
    assert [run.name for run in find_runs([tmp_path])] == expected
    assert [run.name for run in find_runs([*tmp_path.iterdir()])] != ['tokenizer'] * 2
    (tmp_path / 'link').symlink_to(tmp_path / 'seed0')
    assert len(find_runs([tmp_path / 'link', tmp_path / 'seed0'])) == 1


def test_run__what_its_files_say(chain):
    run = find_runs([chain / 'cls_beit'])[0]
    assert (run.seed, run.seconds, run.steps) == ('7', 72 * 60, (4, 4, 'iterations'))
    assert run.recorded('Command') == 'python tools/train.py config.py'
    assert run.is_pretrained and not run.is_frozen and run.is_finished
    (metric,) = run.metrics
    assert (metric.name, metric.last, metric.best, metric.best_iter) == (
        'accuracy/top1', 98.0, 99.0, 2,
    )  # fmt: skip
    facts = {name: value for name, value, _ in Report([run], '').facts(run)}
    assert facts['Trained'].startswith('classification, pre-trained: ImageClassifier with BEiT')
    assert facts['On'].startswith('8 images of ') and facts['Length'].endswith(', 1 h 12 min')
    assert facts['Last checkpoint'] == 'iter_4.pth' and facts['Seed'] == '7'


def test_metrics__best_is_the_smallest_of_a_loss(tmp_path):
    entries = [val(n, mim__loss=x, mim__accuracy=x) for n, x in ((1, 3.0), (2, 1.0), (3, 2.0))]
    run = find_runs([write_run(tmp_path / 'a', made.pretraining(), entries, weights=False)])[0]
    assert [(m.best, m.best_iter) for m in run.metrics] == [(1.0, 2), (3.0, 1)]


def test_log__of_a_test_in_the_same_work_dir_is_not_the_training(chain, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(chain / 'pretrain', folder)
    later = folder / '20260103_100000'
    (later / 'vis_data').mkdir(parents=True)
    Config(dict(model=dict(type='Other'))).dump(later / 'vis_data' / 'config.py')
    (later / 'a.log').write_text('2026/01/03 10:00:00 - mmengine - INFO - Iter(test) [1/1]\n')
    run = find_runs([folder])[0]
    assert run.task == 'pretraining' and run.seconds == 72 * 60 and run.seed == '7'


# ---- the verdict ----


def test_verdict__of_a_chain_that_went_well(report):
    marks = [verdict.mark for verdict in report.sentences()]
    texts = ' '.join(verdict.text for verdict in report.sentences())
    assert 'Pre-training helps. Classification: cls_beit beside cls_scratch' in texts
    assert '98.0 % accuracy and 50.0 % accuracy' in texts
    assert 'Pre-training helps. Segmentation' in texts
    assert 'healthy: 75 % of its 16 codes are used, with a perplexity of 9.0' in texts
    assert 'a loss of 1.50 nats, where always guessing by the frequency of the tokens gives 2.50 ('
    assert '40 % better' in texts and set(marks) <= {'good', 'note'}, texts


@pytest.mark.parametrize(('perplexity', 'mark'), [(0.7, 'bad'), (2.0, 'unsure'), (9.0, 'good')])
def test_verdict__of_a_tokenizer(tmp_path, perplexity, mark):
    entries = [train(4, loss=0.1, codes_used=9, perplexity=perplexity)]  # without a validation
    found = said(write_run(tmp_path / 'a', made.tokenizer(), entries, weights=False))
    assert [*found.values()] == [mark]


@pytest.mark.parametrize(
    ('explained', 'mark', 'words'),
    [
        (-0.4, 'bad', 'hardly more than one color yet: 0 %'),
        (math.nan, 'bad', 'hardly more than one color'),
        (0.05, 'bad', 'hardly more than one color yet: 5 %'),
        (0.2, 'unsure', 'little of what the images show: 20 %'),
        (0.6, 'good', 'what the images show: 60 %'),
    ],
)
def test_verdict__of_what_a_tokenizer_draws(tmp_path, explained, mark, words):
    entries = [
        val(step, tokenizer__perplexity=9.0, tokenizer__explained_variance=value)
        for step, value in ((2, 0.5), (4, explained))
    ]
    found = said(write_run(tmp_path / 'a', made.tokenizer(), entries, weights=False))
    assert [m for text, m in found.items() if words in text] == [mark]


@pytest.mark.parametrize('accuracy, words', [(26.0, 'hardly more than'), (20.0, 'not more than')])
def test_verdict__of_a_classification_at_chance(tmp_path, accuracy, words):
    entries = [val(4, accuracy__top1=accuracy)]
    folder = write_run(tmp_path / 'a', made.classifier(), entries, weights=False)
    ((text, mark),) = said(folder).items()
    assert mark == 'bad' and f'{words} chance (25.0 %)' in text


@pytest.mark.parametrize(
    'accuracy, images, mark, words',
    [
        (66.7, (8, 4), 'unsure', 'not clearly more than always the largest class (66.7 %)'),
        (60.0, (8, 4), 'unsure', 'not clearly more than'),
        (20.0, (8, 4), 'bad', 'not more than always the largest class'),
        (100.0, (12,), 'unsure', 'not clearly more than'),
        (60.0, (5, -3, 'x', 5), 'unsure', 'always the largest class (50.0 %)'),
        (83.3, (6, 6), 'good', 'always the largest class: 50.0 %'),
        (66.7, (6, 6), 'unsure', 'with 12 images, 28.9 points may be luck'),
        (66.7, (600, 600), 'good', 'always the largest class: 50.0 %'),
        (90.0, (900, 100), 'unsure', 'not clearly more than always'),
        (85.0, (900, 100), 'bad', 'not more than always'),
    ],
)
def test_verdict__of_a_classification_beside_its_largest_class(
    tmp_path, accuracy, images, mark, words
):
    entries = [val(4, accuracy__top1=accuracy)]
    folder = write_run(tmp_path / 'a', made.classifier(), entries, weights=False)
    rows = [dict(images=count) | {'class': str(n)} for n, count in enumerate(images)]
    (folder / 'metrics.json').write_text(json.dumps({'accuracy/top1': accuracy, 'per_class': rows}))
    ((text, found),) = said(folder).items()
    assert found == mark and words in text


@pytest.mark.parametrize(
    ('accuracy', 'mark'), [(33.3, 'bad'), (36.0, 'bad'), (45.0, 'note'), (math.nan, 'note')]
)
def test_verdict__of_a_segmentation_that_answers_one_class(tmp_path, accuracy, mark):
    entries = [val(4, mIoU=20.0, mAcc=accuracy)]
    folder = write_run(tmp_path / 'a', made.segmentor(), entries, weights=False)
    ((text, found),) = said(folder).items()
    assert found == mark and ('one class everywhere has 33.3 %' in text) == (mark == 'bad')


@pytest.mark.parametrize(
    ('pixels', 'mark'), [((90, 10, 0), 'bad'), ((99, 0, 0), 'bad'), ((80, 10, 10), 'note')]
)
def test_verdict__of_a_segmentation_counts_the_classes_that_are_there(tmp_path, pixels, mark):
    figures = dict(mIoU=40.0, mAcc=51.0 if pixels[1] else 100.0)
    folder = write_run(tmp_path / 'a', made.segmentor(), [val(4, **figures)], weights=False)
    rows = [dict(pixels=count) | {'class': str(n)} for n, count in enumerate(pixels)]
    (folder / 'metrics.json').write_text(json.dumps(figures | dict(per_class=rows)))
    ((text, found),) = said(folder).items()
    assert found == mark and ('has one class alone' in text) == (pixels[1:] == (0, 0))


@pytest.mark.parametrize(
    ('written', 'figure'),
    [('2026/01/02 11:12:00', 60.0), ('2026/01/02 11:11:59', 40.0), (None, 60.0)],
)
def test_metrics_of_a_test_that_is_older_than_the_training_are_left_out(tmp_path, written, figure):
    entries = [val(4, accuracy__top1=40.0)]
    tested = {'accuracy/top1': 60.0} | (dict(written=written) if written else {})
    folder = write_run(tmp_path / 'a', made.classifier(), entries, metrics=tested)
    run = find_runs([folder])[0]
    assert run.metric('accuracy/top1') == figure
    assert [('test again' in words) for words in run.problems] == [True] * (figure == 40.0)


@pytest.mark.parametrize(('gain', 'mark'), [(-1.1, 'bad'), (0.0, 'bad'), (0.3, 'good')])
@pytest.mark.parametrize('kind', ['val', 'train', 'loss alone'])
def test_verdict__of_a_pretraining(tmp_path, gain, mark, kind):
    entry = dict(unigram_entropy=2.0, gain_over_unigram=gain)
    if kind == 'loss alone':
        entry = dict(unigram_entropy=2.0, loss=2 * (1 - gain))
    entries = [train(4, **dict(loss=1.0) | entry)]
    if kind != 'train':
        entries = [val(4, **{f'mim__{name}': value for name, value in entry.items()})]
    folder = write_run(tmp_path / 'a', made.pretraining(), entries, weights=False)
    ((text, found),) = said(folder).items()
    assert found == mark and f'{2 * (1 - gain):.2f} nats' in text and 'gives 2.00' in text


@pytest.mark.parametrize(
    ('pair', 'expected'),
    [
        ((98.0, 25.0), 'Pre-training helps'),
        ((25.0, 98.0), 'does not help'),
        ((50.0, 45.0), 'No clear difference'),  # of 8 images
    ],
)
def test_verdict__does_it_help(chain, tmp_path, pair, expected):
    for name, score in zip(('cls_beit', 'cls_scratch'), pair, strict=True):
        shutil.copytree(chain / name, tmp_path / name)
        (tmp_path / name / 'scalars.jsonl').write_text(json.dumps(val(4, accuracy__top1=score)))
    assert any(expected in text for text in said(tmp_path))


@pytest.mark.parametrize(('images', 'expected'), [(None, 'is not known'), (400, 'does not help')])
def test_verdict__without_the_images_takes_their_number_from_the_test(tmp_path, images, expected):
    for name, score in (('fine', 50.0), ('scratch', 60.0)):
        config = made.classifier()
        if name == 'fine':
            config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='a.pth')
        metrics = {'accuracy/top1': score} | (dict(images=images) if images else {})
        write_run(tmp_path / name, config, [val(4, accuracy__top1=score)], metrics=metrics)
    texts = [text for text in said(tmp_path) if 'beside' in text]
    assert len(texts) == 1 and expected in texts[0]


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (dict(model=dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='b')))), True),
        (dict(train_dataloader=dict(dataset=dict(file_list='b/list.txt'))), True),
        (dict(randomness=dict(seed=7)), True),
        (dict(model=dict(backbone=dict(drop_path_rate=0.5))), False),
        (dict(optim_wrapper=dict(optimizer=dict(lr=9.0))), False),
        (dict(train_dataloader=dict(dataset=dict(data_root='b'))), False),
    ],
)
def test_repeats__differ_in_seeds_and_places_alone(change, expected):
    config = dict(
        model=dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='a'))),
        train_dataloader=dict(dataset=dict(data_root='a', file_list='a/list.txt')),
        optim_wrapper=dict(optimizer=dict(lr=1.0)),
    )
    other = Config(config)
    other.merge_from_dict(change)
    runs = [Run(Path(), 'x', Config(config)), Run(Path(), 'y', other)]
    assert are_repeats(runs) == expected


def test_run__of_fewer_steps_in_the_same_folder_has_its_own_length(tmp_path):
    folder = write_run(
        tmp_path / 'a', made.classifier(), [train(20, loss=1.0), train(3, loss=2.0)], iters=3
    )
    shutil.copy(folder / 'iter_3.pth', folder / 'iter_20.pth')
    (folder / 'earlier_checkpoints.txt').write_text('iter_20.pth\n')
    run = find_runs([folder])[0]
    assert run.steps[0] == 3 and [entry['iter'] for entry in run.log] == [3]


def test_verdict__chains_side_by_side_are_compared_each_in_itself(chain, tmp_path):
    for seed in ('seed0', 'seed1'):
        for name in ('cls_beit', 'cls_scratch'):
            shutil.copytree(chain / name, tmp_path / seed / name)
    texts = [text for text in said(tmp_path) if 'helps' in text]
    pairs = [f'{seed}/cls_beit beside {seed}/cls_scratch' for seed in ('seed0', 'seed1')]
    assert len(texts) == 2 and all(p in t for p, t in zip(pairs, texts, strict=True))


@pytest.mark.parametrize(
    ('model', 'expected'),
    [
        (dict(backbone=dict(init_cfg=None)), False),
        (dict(backbone=dict(init_cfg=[dict(type='TruncNormal', layer='Linear')])), False),
        (dict(backbone=dict(init_cfg=[dict(type='Pretrained', checkpoint='a')])), True),
        (dict(init_cfg=dict(type='Pretrained', checkpoint='a'), backbone=dict()), True),
        (dict(pretrained='a', backbone=dict()), True),
    ],
)
def test_run__is_pretrained_if_it_began_with_a_file(model, expected):
    assert Run(Path(), 'x', Config(dict(model=model))).is_pretrained == expected
    assert Run(Path(), 'x', Config(dict(model=model, load_from='b'))).is_pretrained


def test_run__checkpoint_tells_what_no_config_does(tmp_path):
    folder = write_run(tmp_path / 'a', made.tokenizer(), [train(4, perplexity=9.0)])
    next(folder.glob('*/vis_data/config.py')).unlink()
    run = find_runs([folder])[0]
    assert run.config is None and (run.task, run.vocab_size) == ('tokenizer', 16)


def test_verdict__runs_on_other_data_are_not_compared(chain, tmp_path):
    for name in ('cls_beit', 'cls_scratch'):
        shutil.copytree(chain / name, tmp_path / name)
    path = next((tmp_path / 'cls_beit').glob('*/vis_data/config.py'))
    config = Config.fromfile(path)
    config.val_dataloader.dataset.part = 'val'
    config.dump(path)
    assert any('their validation data differ' in text for text in said(tmp_path))


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (dict(planned=9), 'not finished: 4 of 9 iterations'),
        (dict(entries=[], weights=False), 'has not logged a step'),
        (dict(entries=[train(4, loss=float('nan'))]), 'no number any more'),
        (
            dict(log=work_dirs.LOG + '2026/01/02 11:13:00 - CRITICAL - Uncaught exception\n'
                 'Traceback (most recent call last):\nValueError: no <luck>\n'),
            'ended with an error after 4 iterations: ValueError: no <luck>',
        ),
    ],
    ids=['unfinished', 'not begun', 'nan', 'error'],
)  # fmt: skip
def test_verdict__of_a_run_that_did_not_end_well(tmp_path, change, expected):
    entries = [train(4, loss=1.0, unigram_entropy=2.0, gain_over_unigram=0.5)]
    options = dict(entries=entries) | change
    folder = write_run(tmp_path / 'a', made.pretraining(), **options)
    assert any(expected in text and mark != 'good' for text, mark in said(folder).items())
    report = Report(find_runs([folder]), 'x')
    text = report.render()
    assert '<luck>' not in text and 'No data of its own' in text
    if 'planned' in change:
        assert 'python tools/train.py config.py --resume' in text


# ---- the page ----


def test_page__has_a_section_for_each_thing_that_the_models_do(page, report):
    found = headings(page)
    assert found.count('Reconstructions') == 1
    assert found.count('Masked patches and their prediction') == 1
    assert found.count('Attention and features') == 5  # all but the tokenizer
    assert found.count('Confusion matrix') == 2 and found.count('Segmentations') == 2
    assert 'Segmentations side by side' in headings(page, 'h2')
    assert [h for h in headings(page, 'h2') if h.startswith('Curves')] == [
        *('Curves: tokenizer', 'Curves: pre-training'),
        *('Curves: classification', 'Curves: segmentation'),
    ]
    assert 'Left out' not in found and not any(report.notes.values())
    assert '<b>' not in page and '<chain>' not in page
    assert 'tree &lt;b&gt;' in page  # the legend
    assert 'beit-mm classify' in page and 'beit-mm segment' in page


def test_curves__have_the_line_of_chance(report):
    runs = {run.name: run for run in report.runs}
    drawn = draw_run_curves([runs['pretrain']])['loss (nats)']
    assert 'chance (unigram entropy)' in drawn and 'iteration' in drawn
    both = draw_run_curves([runs['cls_beit'], runs['cls_scratch']])['accuracy (%)']
    assert all(name in both for name in ('chance (25 %)', 'cls_beit: val', 'cls_scratch: val'))


def test_curves__of_runs_with_another_chance_have_a_line_each(tmp_path):
    for name, entropy in (('a', 2.0), ('b', 3.0), ('c', 3.0)):
        entries = [train(4, loss=1.0, unigram_entropy=entropy)]
        write_run(tmp_path / name, made.pretraining(), entries, weights=False)
    drawn = draw_run_curves(find_runs([tmp_path]))['loss (nats)']
    names = re.findall(r'>([^<]*chance[^<]*)<', drawn)
    expected = ['chance (unigram entropy)', 'b: chance (unigram entropy)']
    assert [*dict.fromkeys(names)][:2] == expected


def test_images__given_are_spread_over_all_of_them(report, chain):
    folder = chain.parent / 'data' / 'images'
    images, places = Report(report.runs[:1], '', [str(folder)]).images(
        report.runs[0], report.models['tokenizer']
    )
    assert len(images) == 6 and set(places) == {-1}
    assert {Path(image).parent.name for image in images} == set(work_dirs.CLASSES)


def test_confusion__counts_what_the_model_says(report):
    run = next(run for run in report.runs if run.name == 'cls_beit')
    model, data = report.models[run.name], report.data[run.name]
    section = pictures.confusion(model, data, 500)
    images = [data.image(place) for place in range(8)]
    true = [data.label(place) for place in range(8)]
    assert true == [0, 0, 1, 1, 2, 2, 3, 3]
    right = int((model.classify(images).pred_label == true).sum())
    assert f'{right} of 8 validation images are right' in section.note
    assert sum(int(row[2]) for row in section.table[1:]) <= 8 - right
    assert section.table[0] == ['true class', 'taken for', 'images']


def test_confusion__of_many_classes_is_a_list_alone(report, monkeypatch):
    monkeypatch.setattr(pictures, 'MOST_CLASSES', 3)
    section = pictures.confusion(report.models['cls_beit'], report.data['cls_beit'], 3)
    assert section.figure is None and ' of 3 validation images are right' in section.note


def test_masked_predictions__only_masked_patches_differ_from_the_image(report):
    model = report.models['pretrain']
    images, _ = report.images(report.runs[1], model)
    section = pictures.masked_predictions(model, images)
    assert len(section.rows) == 6
    again = pictures.masked_predictions(model, images)
    for (image, masked, predicted, truth), row in zip(section.rows, again.rows, strict=True):
        gray = (masked == 128).all(-1)
        assert 4 * 64 <= gray.sum() <= 6 * 64  # a block of patches at least
        assert np.array_equal(masked[~gray], image[~gray])
        assert np.array_equal(predicted[~gray], image[~gray])
        assert not np.array_equal(predicted, image) and truth.shape == image.shape
        assert np.array_equal(masked, row[1])  # the same masks each time


def test_segmentations__truth_is_beside_the_prediction(report):
    (section,) = [s for s in report.sections(report.runs[4], report.models['seg_beit']) if s.legend]
    assert section.titles == ('image', 'truth', 'predicted')
    assert ('ground (clear)', (255, 255, 255)) in section.legend
    data = report.data['seg_beit']
    assert [set(np.unique(data.mask(place))) for place in range(8)] == [
        {0}, {0}, {1}, {1}, {2}, {2}, {0}, {0},
    ]  # fmt: skip
    assert [row[0].shape[:2] for row in section.rows][:2] == [(40, 40), (48, 40)]
    palette = report.models['seg_beit'].palette
    for (image, truth, _), place in zip(section.rows, data.spread(6), strict=True):
        expected = segmentation_overlay(image, data.mask(place), palette)
        np.testing.assert_array_equal(truth, expected)


def test_main_components__one_color_for_equal_patches():
    features = np.zeros((2, 3, 5), np.float32)
    features[:, 1] = 1
    first, second = pictures.main_components([features, features[:1]])
    assert first.shape == (2, 3, 3) and second.shape == (1, 3, 3) and first.dtype == np.uint8
    assert np.array_equal(first[0, 0], second[0, 2])
    assert not np.array_equal(first[0, 0], first[0, 1])


# ---- what is not there ----


def left_out(run, images=None):
    report = Report(find_runs([run]), 'x', images)
    return headings(report.render()), ' '.join(next(iter(report.notes.values())))


def test_missing__data_of_the_run(chain, tmp_path):
    images = made.write_images(tmp_path / 'images')
    for config in (made.pretraining(), made.classifier(), made.segmentor(), made.tokenizer()):
        folder = write_run(tmp_path / f'{config.model.type}', config, [train(4, loss=1.0)])
        found, notes = left_out(folder)
        assert 'No data of its own' in notes and 'nowhere' in notes and '--images' in notes
        assert found == ['Left out']
        found, notes = left_out(folder, images)
        assert len(found) >= 2 and 'Confusion matrix' not in found


def test_missing__labels(tmp_path):
    plain, _, _ = work_dirs.write_data(tmp_path / 'data')
    folder = write_run(tmp_path / 'a', with_data(made.classifier(), **plain))
    found, notes = left_out(folder)
    assert found == ['Attention and features', 'Left out'] and 'has no labels' in notes


@pytest.mark.parametrize('token', ['VQKD', 'PROJECTION'])
def test_missing__tokenizer_that_cannot_decode(tmp_path, token):
    plain, _, _ = work_dirs.write_data(tmp_path / 'data')
    config = with_data(made.pretraining(vars(made)[token]), **plain)
    found, notes = left_out(write_run(tmp_path / 'a', config))
    assert found == ['Attention and features', 'Left out']
    assert 'No masked predictions: the tokenizer cannot decode' in notes


def test_missing__checkpoint_config_and_curves(chain, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(chain / 'pretrain', folder)
    (folder / 'iter_4.pth').write_bytes(b'cut')
    found, notes = left_out(folder)
    assert 'no whole checkpoint' in notes and 'Validation' in found
    for path in folder.glob('*/vis_data/config.py'):
        path.write_text('model = dict(')
    found, notes = left_out(folder)
    assert 'config.py cannot be read' in notes and 'Validation' in found
    shutil.copy(chain / 'pretrain' / 'iter_4.pth', folder / 'iter_4.pth')
    (folder / 'scalars.jsonl').unlink()
    found, notes = left_out(folder, str(chain.parent / 'data' / 'images'))
    assert 'Masked patches and their prediction' in found


def test_images__of_five_bands_of_sixteen_bits_and_broken_ones(tmp_path):
    root = tmp_path / 'images'
    made.write_images(root, sizes=((40, 40), (44, 40)), channels=5, dtype=np.uint16)
    (root / 'broken.npy').write_bytes(b'none')
    bands = dict(mean=[9e3] * 5, std=[9e3] * 5)
    dvae = dict(made.DVAE, in_channels=5)
    loader = dict(type='LoadMultiBandImage', channels=5)
    config = made.pretraining(
        dvae, backbone=dict(in_channels=5), loader=loader, normalization=bands, token_scale=65535.0,
        bgr=False,
    )  # fmt: skip
    data = dict(type='UnlabelledImageFolder', data_root=str(root), extensions=['npy'])
    found, notes = left_out(write_run(tmp_path / 'a', with_data(config, **data)))
    assert found == ['Masked patches and their prediction', 'Attention and features'], notes


def test_data__is_found_from_the_folder_of_the_training(tmp_path, monkeypatch):
    _, _, masked = work_dirs.write_data(tmp_path / 'data')
    masked = dict(masked, data_root='data/images', mask_root='data/masks')
    run = find_runs([write_run(tmp_path / 'a', with_data(made.segmentor(), **masked))])[0]
    monkeypatch.chdir('/')
    data, reason = read_data(run, ['val_dataloader'])
    assert data is not None, reason
    assert data.image(0) == str(tmp_path / 'data/images/ant/0.png')
    assert data.mask(0).shape == (40, 40)


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium here')
@pytest.mark.parametrize('width', [390, 1280])
def test_page__nothing_overflows_in_a_browser(chain, tmp_path, width):
    """A script in a copy of the page writes its width and what is wider into the title."""
    long = 'long_name_without_any_space_' * 9
    shutil.copytree(chain, tmp_path / long)
    text = Report(find_runs([tmp_path]), long).render()
    script = (
        '<script>document.title = "found " + document.documentElement.scrollWidth + " " + '
        '[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > '
        f'{width} + 0.5).map(e => e.tagName + "." + e.className).join(",") + " end"</script>'
    )
    path, out = tmp_path / 'page.html', tmp_path / 'frame.html'
    path.write_text(text.replace('</body>', f'{script}</body>'))
    # Chromium has a least window; a frame has any width
    out.write_text(
        f'<iframe id="f" src="page.html" style="width:{width}px;height:60000px;border:0"></iframe>'
        '<script>f.onload = () => { document.title = f.contentDocument.title }</script>'
    )
    flags = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --dump-dom'
    flags += ' --disable-background-networking --disable-component-update --disable-sync'
    flags += ' --allow-file-access-from-files --virtual-time-budget=5000 --window-size=1400,1000'
    command = [CHROMIUM, *flags.split(), f'--user-data-dir={tmp_path / "profile"}', out.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (seen,) = re.findall('<title>found (.*?) end</title>', done.stdout)
    assert seen.strip() == str(width)
