import pickle

import pytest

from beit_mm.contracts import UserError
from beit_mm.datasets.samplers import ResumableSampler, SeededIndex


def sampler(size=7, rank=0, world_size=1, **kwargs):
    made = ResumableSampler(range(size), seed=3, **kwargs)
    made.rank, made.world_size = rank, world_size
    made.per_rank = -(-size // world_size)
    return made


def taken(made, count):
    """Indices and seeds."""
    return [(int(index), index.seed) for index, _ in zip(made, range(count), strict=False)]


def together(count, world_size, start=0, **kwargs):
    """What all processes take in turn from ``start`` of the endless stream."""
    streams = []
    for rank in range(world_size):
        made = sampler(rank=rank, world_size=world_size, **kwargs)
        made.start(*divmod(start, 7), endless=True)
        streams.append(taken(made, count // world_size))
    return [pair for pairs in zip(*streams, strict=True) for pair in pairs]


def test_epochs__permutations_that_differ_in_order_and_seeds():
    made, seen, seeds = sampler(), [], set()
    for epoch in range(20):
        made.set_epoch(epoch)
        pairs = taken(made, 100)
        assert sorted(index for index, _ in pairs) == list(range(7))
        seen.append(tuple(index for index, _ in pairs))
        seeds |= {seed for _, seed in pairs}
    assert len(set(seen)) > 15 and len(seeds) == 20 * 7


@pytest.mark.parametrize('place', range(0, 30, 4))
@pytest.mark.parametrize('world_size', [1, 2, 3, 9])
def test_endless__begins_anywhere_with_any_number_of_processes(place, world_size):
    whole = together(36 + place, 1)
    assert together(36, world_size, start=place) == whole[place:]


def test_epoch__begins_anywhere():
    made = sampler(world_size=2, rank=1)
    made.start(epoch=5)
    whole = taken(made, 100)
    made.start(epoch=5, offset=4)
    assert taken(made, 100) == whole[2:]
    assert len(whole) == len(made) == 4  # 7 samples and one again, for two processes


def test_epoch__processes_share_it_and_fill_up():
    parts = [taken(sampler(world_size=3, rank=rank), 100) for rank in range(3)]
    assert {len(part) for part in parts} == {3}
    assert {index for part in parts for index, _ in part} == set(range(7))
    assert len({seed for part in parts for _, seed in part}) == 9


def test_seed__another_order_and_other_augmentations():
    one, other = sampler(), sampler()
    other.seed = 4
    one, other = taken(one, 7), taken(other, 7)
    assert [index for index, _ in one] != [index for index, _ in other]
    assert not {seed for _, seed in one} & {seed for _, seed in other}


def test_seeds__spread_over_64_bits():
    made = sampler(size=4096)
    bits = [sum(seed >> bit & 1 for _, seed in taken(made, 4096)) for bit in range(64)]
    assert all(abs(count - 2048) < 200 for count in bits)  # 6 standard deviations


@pytest.mark.parametrize('endless', [False, True])
def test_indices_of__names_the_batch(endless):
    made = sampler(rank=1, world_size=2)
    made.start(epoch=2, offset=2, endless=endless)
    assert made.indices_of(2, 2, 3) == [index for index, _ in taken(made, 3)]


def test_unshuffled__keeps_the_order():
    assert [index for index, _ in taken(sampler(shuffle=False), 7)] == list(range(7))


def test_empty__is_an_error_and_no_hang():
    with pytest.raises(UserError, match='train_dataloader.dataset is empty'):
        ResumableSampler([])


def test_seeded_index__travels_to_workers():
    index = pickle.loads(pickle.dumps(SeededIndex(3, 2**63 + 1)))
    assert (index, index.seed) == (3, 2**63 + 1) and [10, 11, 12, 13][index] == 13
