import json
import random
import threading

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.registry import TRANSFORMS
from torch.utils.data import DataLoader

from beit_mm.contracts import UserError
from beit_mm.datasets import SeededDataset, SkipBadSamples, TooManyBadSamplesError
from beit_mm.datasets.samplers import SeededIndex


@TRANSFORMS.register_module(force=True)
class FailsAt:
    """Draws a number before it fails or returns None, as augmentations before a bad one do."""

    def __init__(self, errors=(), nones=()):
        self.errors, self.nones = errors, nones

    def __call__(self, results):
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        if results['sample_idx'] in self.errors:
            raise OSError('image file is truncated')
        if results['sample_idx'] in self.nones:
            return None
        return dict(index=results['sample_idx'], noise=noise)


class Numbers(BaseDataset):
    def __init__(self, size=40, errors=(), nones=(), **kwargs):
        self.size = size
        pipeline = [dict(type='FailsAt', errors=errors, nones=nones)]
        super().__init__(pipeline=pipeline, serialize_data=False, **kwargs)  # it collects garbage

    def load_data_list(self):
        return [dict(img_path=f'{i}.png') for i in range(self.size)]


def skipping(max_count=100, max_share=1.0, max_tries=10, **kwargs):
    return SkipBadSamples(Numbers(**kwargs), max_count, max_share, max_tries)


def epoch(dataset, seed=5, workers=0):
    indices = [SeededIndex(i, 1000 * seed + i) for i in range(len(dataset))]
    loader = DataLoader(
        SeededDataset(dataset), sampler=indices, num_workers=workers, batch_size=4, collate_fn=list
    )
    return [sample for batch in loader for sample in batch]


def test_good_samples__are_as_without_it():
    assert epoch(skipping()) == epoch(Numbers())
    seen = epoch(skipping(errors=[3], nones=[8]))
    for index, (sample, expected) in enumerate(zip(seen, epoch(Numbers()), strict=True)):
        assert (sample == expected) == (index not in (3, 8))


def test_substitutes__are_a_function_of_seed_and_index():
    bad = dict(errors=[3, 5], nones=[8])
    first = epoch(skipping(**bad))
    random.seed(1), np.random.seed(1)
    assert epoch(skipping(**bad)) == first
    assert epoch(skipping(**bad), workers=2) == first
    assert first[3]['index'] not in (3, 5, 8)
    others = {epoch(skipping(**bad), seed)[3]['index'] for seed in range(6)}
    assert len(others) > 3  # not always the same one, which would count double


def test_substitutes__reach_all_others_alike():
    data = skipping(size=5)
    chosen = [data.substitute(seed, 2, 0) for seed in range(800)]
    counts = np.bincount(chosen, minlength=5)
    assert counts[2] == 0 and counts.sum() == 800
    assert (np.delete(counts, 2) > 150).all()


def test_bad_substitute__is_substituted_too():
    seen = epoch(skipping(size=4, errors=[0, 1, 2], max_tries=50))
    assert [sample['index'] for sample in seen] == [3, 3, 3, 3]
    with pytest.raises(TooManyBadSamplesError, match='0.png and 10 others tried'):
        skipping(size=4, errors=[0, 1, 2, 3])[0]


def test_limits__count_different_samples():
    data = skipping(size=10, errors=[1, 2], max_count=2)
    for _ in range(3):
        epoch(data)
    assert data.bad_samples() == {1, 2} and data.counts[1] >= 3
    with pytest.raises(TooManyBadSamplesError, match='3 of 10 .* SkipBadSamples.max_count=2'):
        epoch(skipping(size=10, errors=[1, 2, 4], max_count=2))
    with pytest.raises(TooManyBadSamplesError, match='2 of 10 .*max_share=0.1.*image file is tru'):
        epoch(skipping(size=10, errors=[1, 2], max_share=0.1))
    epoch(skipping(size=10, errors=[1], max_share=0.1))


def test_limits__are_of_all_workers_together():
    data = skipping(errors=[2, 6, 10, 14], max_count=3)  # two for each of two workers
    with pytest.raises(TooManyBadSamplesError, match='4 of 40 samples are bad'):
        epoch(data, workers=2)
    assert data.bad_samples() == {2, 6, 10, 14}


@pytest.mark.distributed
def test_limits__are_of_all_processes_and_of_this_run_alone(tmp_path):
    def part(run, errors):
        data = skipping(errors=errors, max_count=2)
        data.record_to(tmp_path, run)
        return data

    epoch(part('before', [7, 9]))
    epoch(part('now', [1, 2]))
    with pytest.raises(TooManyBadSamplesError, match='3 of 40'):
        epoch(part('now', [4]))


@pytest.mark.parametrize('workers', [0, 2])
def test_record__names_each_sample_once(tmp_path, workers, capfd):
    data = skipping(errors=[3], nones=[8])
    data.record_to(tmp_path, 'now')
    for _ in range(2):
        epoch(data, workers=workers)
    lines = map(json.loads, (tmp_path / 'bad_samples.jsonl').read_text().splitlines())
    found = {line['index']: line for line in lines}
    assert found.keys() == {3, 8}
    assert found[3] == dict(
        run='now', rank=0, index=3, file='3.png', error='OSError: image file is truncated'
    )
    assert len((tmp_path / 'bad_samples.jsonl').read_text().splitlines()) == 2
    assert data.counts[3] >= 2


def test_evaluation__is_refused():
    with pytest.raises(UserError, match='Numbers with test_mode=True; an evaluation needs every'):
        SkipBadSamples(ConcatDataset([Numbers(), Numbers(test_mode=True)]))
    with pytest.raises(UserError, match='both None'):
        skipping(max_count=None, max_share=None)


def test_inside_of_others__mmengine_takes_none_at_random():
    data = SkipBadSamples(ConcatDataset([Numbers(nones=[1]), Numbers()]), max_share=None)
    epoch(data)
    assert 1 in data.bad_samples()
    assert data._name(41) == '1.png'  # everything else is asked of the data set itself


class Plain(torch.utils.data.Dataset):
    """Not MMEngine's, which makes an error of its own from a None."""

    def __init__(self, found):
        self.found = found

    def __len__(self):
        return len(self.found)

    def __getitem__(self, index):
        if self.found[index] is MemoryError:
            raise MemoryError
        return self.found[index]


def test_none__of_any_data_set_is_bad():
    data = SkipBadSamples(Plain([None, 7]), max_share=None)
    assert [data[0], data[1]] == [7, 7] and data.bad_samples() == {0}


def test_no_memory__is_the_machines_fault():
    data = SkipBadSamples(Plain([MemoryError, 7]), max_share=None)
    with pytest.raises(MemoryError):
        data[0]
    assert data.bad_samples() == set()


def test_everything_else__is_the_data_sets():
    data = skipping(metainfo=dict(classes=('a',)))
    assert data.metainfo == dict(classes=('a',)) and len(data) == 40
    assert data.get_data_info(4)['img_path'] == '4.png'


def test_counts__are_read_while_another_worker_counts():
    """The memory is shared: what is being counted is one reading or the other, not an error."""
    data = skipping(size=5000)
    shared, ends = data.counts.numpy(), threading.Event()

    def count():
        while not ends.is_set():
            shared[::2] = 1 - shared[::2]

    other = threading.Thread(target=count)
    other.start()
    try:
        for _ in range(3000):
            assert not data.bad_samples() & set(range(1, 5000, 2))
    finally:
        ends.set()
        other.join()


def test_record__a_line_that_was_cut_off_is_passed_over(tmp_path):
    """By a kill or a full disk, in this process or another."""
    data = skipping(errors=[3])
    data.record_to(tmp_path, 'now')
    entry = json.dumps(dict(run='now', rank=1, index=7, file='7.png', error='x'))
    (tmp_path / 'bad_samples.jsonl').write_text(f'{entry}\n{entry[:20]}\n')
    epoch(data)
    assert data.bad_samples() == {3, 7}
