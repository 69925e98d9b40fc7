import json
import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.runner import Runner
from tiny_training import TinyNoise, tiny_config

from beit_mm.datasets import SeededDataset, SkipBadSamples, UnlabelledImageFolder
from beit_mm.datasets.transforms import LoadMultiBandImage, PackMIMInputs
from beit_mm.engine import DatasetCheckHook
from beit_mm.models import TwoViewDataPreprocessor


class Labelled(BaseDataset):
    """Reads no image: its pipeline fails."""

    def __init__(self, labels=(), classes=None, **kwargs):
        self.labels = labels
        meta = dict(classes=[*classes]) if classes else None
        super().__init__(metainfo=meta, pipeline=[self.fail], serialize_data=False, **kwargs)

    def load_data_list(self):
        return [
            dict(img_path=f'{i}.png', **({} if label is None else dict(gt_label=label)))
            for i, label in enumerate(self.labels)
        ]

    @staticmethod
    def fail(results):
        raise OSError('broken file')


def runner(train=None, val=None, work_dir='.', num_classes=3, part='head'):
    model = torch.nn.Module()
    if num_classes is not None:
        setattr(model, part, SimpleNamespace(num_classes=num_classes))
    evaluator = SimpleNamespace(metrics=[])
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=val), evaluator=evaluator)
    loop = loop if val is not None else None
    return SimpleNamespace(
        model=model,
        train_dataloader=SimpleNamespace(dataset=train, sampler=None),
        train_loop=None,
        cfg={},
        optim_wrapper=SimpleNamespace(_accumulative_counts=1),
        hooks=[],
        param_schedulers=[],
        max_iters=1,
        val_loop=loop,
        test_loop=loop,
        work_dir=work_dir,
        timestamp='now',
        logger=logging.getLogger('test_dataset_check_hook'),
    )


def check(train, **kwargs):
    DatasetCheckHook().before_train(runner(train, **kwargs))


@pytest.mark.parametrize('label', [0, 2, [0, 2], torch.tensor([1, 2])])
def test_labels_in_range__pass_and_no_image_is_read(label):
    check(Labelled([0, label], classes='abc'))


@pytest.mark.parametrize('label', [3, -1, -100, [0, 3], torch.tensor([3])])
def test_labels_out_of_range__are_named(label):
    data = SeededDataset(ConcatDataset([Labelled([0]), Labelled([1, label])]))
    with pytest.raises(ValueError) as error:
        check(data)
    assert 'train_dataloader.dataset has labels' in str(error.value)
    assert 'model.head.num_classes=3 they are 0 to 2: 1.png (' in str(error.value)


@pytest.mark.parametrize(
    'labels, told',
    [
        ([1, 2, 3], 'they are 1 to 3, but numbers of classes begin at 0: subtract 1'),
        ([0, -1], 'mean that there is no label'),
        ([0, float('nan')], 'mean that there is no label'),
        ([0, 3], 'Correct them in its ann_file, or model.head.num_classes$'),
        ([1, 4], 'Correct them in its ann_file, or model.head.num_classes$'),
    ],
)
def test_labels_out_of_range__are_explained(labels, told):
    with pytest.raises(ValueError, match=told):
        check(Labelled(labels))


def test_labels_of_evaluations(tmp_path):
    bad = Labelled([0, 7])
    with pytest.raises(ValueError, match=r'val_dataloader.dataset has labels 7 \(1 samples\)'):
        check(Labelled([0]), val=bad)
    for name, key in (('before_val', 'val_dataloader'), ('before_test', 'test_dataloader')):
        with pytest.raises(ValueError, match=f'{key}.dataset has labels 7'):
            getattr(DatasetCheckHook(), name)(runner(val=bad))


def test_classes__more_than_the_model_has():
    for part in ('head', 'decode_head'):
        with pytest.raises(ValueError, match=f'has 4 classes, but model.{part}.num_classes=3'):
            check(Labelled([0], classes='abcd'), part=part)


def test_classes__fewer_are_a_warning(caplog):
    check(Labelled([0], classes='ab'))
    assert 'has 2 classes, but model.head.num_classes=3' in caplog.text


def test_classes__that_no_sample_has(caplog):
    check(Labelled([0, 2, 2]))
    assert 'no sample has the label 1, with model.head.num_classes=3' in caplog.text
    caplog.clear()
    for labels in ([0, 1, 2], [[0, 2], [0]], [None, None], ['cat', 'dog']):
        check(Labelled(labels))
    assert 'no sample' not in caplog.text and 'check failed' not in caplog.text


def test_empty_data():
    with pytest.raises(ValueError, match='train_dataloader.dataset is empty'):
        check(Labelled([]))


def test_data_without_labels_and_models_without_classes__pass():
    check(Labelled([None, None]))
    check(Labelled([5]), num_classes=None)


def test_evaluation__with_substitutes_is_refused(tmp_path):
    skipping = SkipBadSamples(Labelled([0]))
    check(SeededDataset(skipping), work_dir=tmp_path)
    with pytest.raises(ValueError, match='val_dataloader.dataset has SkipBadSamples'):
        check(Labelled([0]), val=SeededDataset(skipping))
    with pytest.raises(ValueError, match='test_dataloader.dataset has SkipBadSamples'):
        DatasetCheckHook().before_test(runner(val=skipping))


def test_data_set__is_read_once():
    class Counting(Labelled):
        reads = 0

        def get_data_info(self, index):
            self.reads += 1
            return super().get_data_info(index)

    hook, data = DatasetCheckHook(), Counting([0, 1])
    given = runner(Labelled([0]), val=data)
    hook.before_train(given)
    hook.before_val(given)
    hook.before_val(given)
    assert data.reads == 2


def test_some_images__are_read_for_what_trains_in_silence(tmp_path, caplog):
    for number in range(20):
        image = np.full(
            (8, 8, 3), 300 if number >= 15 else 30, np.uint16 if number >= 15 else np.uint8
        )
        image[0, 0] = 9
        cv2.imwrite(str(tmp_path / f'{number:02d}.png'), image)
    for loader, found in (('LoadImageFromFile', 1), ('beit_mm.LoadMultiBandImage', 0)):
        caplog.clear()
        data = UnlabelledImageFolder(str(tmp_path), [dict(type=loader)])
        check(SeededDataset(ConcatDataset([data, data])), num_classes=None)
        assert caplog.text.count('sixteen-bit: ') == found  # once, not for each of them
        assert caplog.text.count('mixed-bands: ') == 1 - found and '15.png' in caplog.text
    caplog.clear()
    data = UnlabelledImageFolder(str(tmp_path), [dict(type='LoadImageFromFile')], indices=15)
    check(SeededDataset(data))
    assert not caplog.text


def test_some_images__that_are_not_there_are_no_finding(tmp_path, caplog):
    """They may be where another backend reads them; else the training says so."""
    (tmp_path / 'a.png').write_bytes(b'')
    data = UnlabelledImageFolder(str(tmp_path), [dict(type='LoadImageFromFile')])
    (tmp_path / 'a.png').unlink()
    check(SeededDataset(data))
    assert not caplog.text


def test_training__bad_samples_are_in_the_work_dir_and_a_resumed_run_is_the_same(tmp_path):
    class Breaks(TinyNoise):
        def __call__(self, results):
            sample = super().__call__(results)
            if results['value'] in (3.0, 11.0):
                raise OSError('broken file')
            return sample

    def run(work_dir, steps, workers, **changes):
        config = tiny_config(work_dir, steps=steps, workers=workers, **changes)
        inner = config['train_dataloader']['dataset']
        wrapped = dict(type='beit_mm.SkipBadSamples', dataset=inner, max_share=0.2)
        config['train_dataloader']['dataset'] = wrapped
        config['custom_hooks'].append(dict(type='beit_mm.DatasetCheckHook'))
        config['experiment_name'] = f'{work_dir.name}-{steps}'
        made = Runner.from_cfg(config)
        made.train_loop.dataloader.dataset.dataset.dataset.pipeline.transforms[0] = Breaks()
        made.train()
        return made

    whole = run(tmp_path / 'whole', 12, 2)
    lines = (tmp_path / 'whole' / 'bad_samples.jsonl').read_text().splitlines()
    assert {json.loads(line)['file'] for line in lines} == {'3.png', '11.png'}
    seen = [index for batch in whole.model.seen for index in batch]
    assert len(seen) == 48 and not {3, 11} & set(seen)

    run(tmp_path / 'parts', 6, 0)
    resumed = run(tmp_path / 'parts', 12, 2, resume=True)
    assert resumed.model.seen == whole.model.seen[6:]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_range_of_values__is_watched_in_every_data_set(tmp_path):
    """Directly before a sample is packed, once."""
    np.save(tmp_path / 'a.npy', np.zeros((8, 8, 1), np.float32))
    steps = [LoadMultiBandImage(), PackMIMInputs()]
    train, val = (UnlabelledImageFolder(str(tmp_path), steps, '.npy') for _ in range(2))
    run = runner(ConcatDataset([train]), val=val, work_dir=str(tmp_path))
    run.model.data_preprocessor = TwoViewDataPreprocessor([0.0], [255.0], token_scale=100.0)
    hook = DatasetCheckHook()
    for check in (hook.before_train, hook.before_val, hook.before_test):
        check(run)
    for data in (train, val):
        load, watch, pack = data.pipeline.transforms
        assert (load, pack) == (steps[0], steps[1])
        assert watch.limits == dict(img=(-25500.0, 25500.0), token_img=(-100.0, 200.0))
