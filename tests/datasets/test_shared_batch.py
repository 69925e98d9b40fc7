import pickle
from functools import partial
from multiprocessing.reduction import ForkingPickler

import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from beit_mm.datasets.shared_batch import SharedBatch, share_batches


def sample(number):
    """Images of two sizes, a mask, a number, nothing, and text."""
    element = BaseDataElement(mask=torch.full((3, 2), number), metainfo=dict(path=f'{number}.png'))
    image = torch.full((3, 2 + number % 2, 4), number, dtype=torch.uint8)
    return dict(
        inputs=image, data_samples=element, some=torch.tensor(number > 1), none=torch.zeros(0)
    )


def assert_same(found, expected):
    assert type(found) is type(expected) is dict and type(found['inputs']) is list
    for key in ('inputs', 'some', 'none'):
        for one, other in zip(found[key], expected[key], strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other)
    for one, other in zip(found['data_samples'], expected['data_samples'], strict=True):
        assert torch.equal(one.mask, other.mask) and one.path == other.path


def test_workers_hand_over_the_same_batches():
    samples = [sample(number) for number in range(8)]
    loader = partial(DataLoader, samples, batch_size=4, collate_fn=pseudo_collate)
    shared, alone = loader(num_workers=1), loader()
    share_batches(shared)
    share_batches(alone)
    for found, without_workers, expected in zip(shared, alone, loader(), strict=True):
        assert_same(found, expected)
        assert_same(without_workers, expected)
        places = {tensor.untyped_storage().data_ptr() for tensor in found['inputs']}
        places |= {one.mask.untyped_storage().data_ptr() for one in found['data_samples']}
        assert len(places) == 1
        found['inputs'][0].fill_(99)  # nobody else's memory
        assert_same(
            dict(found, inputs=found['inputs'][1:]), dict(expected, inputs=expected['inputs'][1:])
        )


def test_shared_tensors_are_not_copied_again():
    batch = dict(inputs=torch.ones(4, 5).share_memory_(), other=torch.ones(2))
    found = pickle.loads(ForkingPickler.dumps(SharedBatch(batch)))
    batch['inputs'][0, 0] = 7
    assert found['inputs'][0, 0] == 7 and torch.equal(found['other'], batch['other'])


def test_batch_without_tensors():
    assert pickle.loads(ForkingPickler.dumps(SharedBatch(['a', 1]))) == ['a', 1]
