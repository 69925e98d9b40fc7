"""The order of the data: any size, batch, number of processes, and place to go on from."""

from itertools import islice

from fuzzing import prop, seeds
from hypothesis import strategies as st

from beit_mm.datasets import ResumableSampler

sizes, worlds, batches = st.integers(1, 60), st.integers(1, 5), st.integers(1, 9)


def sampler(size, world=1, rank=0, seed=0, shuffle=True):
    made = ResumableSampler(range(size), shuffle=shuffle, seed=seed)
    made.rank, made.world_size, made.per_rank = rank, world, -(-size // world)
    made.start()
    return made


def told(index):
    return int(index), index.seed, index.epoch


def read(source, count=None):
    return [told(index) for index in islice(iter(source), count)]


def joint(size, world, seed, epoch=0, offset=0, count=None, endless=False):
    """What all processes see together, in the order of the places."""
    parts = []
    for rank in range(world):
        source = sampler(size, world, rank, seed)
        source.start(epoch, offset, endless)
        parts.append(read(source, count))
    assert len({len(part) for part in parts}) == 1
    return [entry for step in zip(*parts, strict=True) for entry in step]


@prop(few=40, size=sizes, world=worlds, epoch=st.integers(0, 9), seed=seeds)
def test_epoch__a_permutation(size, world, epoch, seed):
    seen = joint(size, world, seed, epoch)
    padded = -(-size // world) * world
    assert len(seen) == padded
    assert sorted(index for index, _, _ in seen[:size]) == list(range(size))
    assert [i for i, _, _ in seen[size:]] == [i for i, _, _ in seen[: padded - size]]
    assert len({draw for _, draw, _ in seen}) == padded  # no augmentation twice
    other = joint(size, world, seed, epoch + 1)
    assert not {draw for _, draw, _ in seen} & {draw for _, draw, _ in other}


@prop(few=40, size=sizes, world=worlds, seed=seeds, part=st.floats(0, 1))
def test_resume_in_an_epoch__equals_the_rest(size, world, seed, part):
    steps = int(part * -(-size // world))
    whole = joint(size, world, seed, epoch=3)
    assert joint(size, world, seed, epoch=3, offset=steps * world) == whole[steps * world :]


@prop(few=40, size=sizes, world=worlds, other=worlds, seed=seeds, start=st.integers(0, 200))
def test_endless__resumed_anywhere_with_any_number_of_processes(size, world, other, seed, start):
    """One sequence for all: another number of processes goes on at the very sample."""
    whole = joint(size, 1, seed, count=300, endless=True)
    for epoch in range(300 // size):
        part = whole[epoch * size : (epoch + 1) * size]
        assert sorted(index for index, _, _ in part) == list(range(size))
        assert {number for _, _, number in part} == {epoch}
    for number in (world, other):
        epoch, offset = divmod(start, size)
        got = joint(size, number, seed, epoch, offset, count=40 // number, endless=True)
        assert got == whole[start : start + len(got)]


@prop(few=40, size=sizes, world=worlds, batch=batches, seed=seeds, step=st.integers(0, 30))
def test_indices_of__the_batch_that_was_seen(size, world, batch, seed, step):
    """What a message names are the samples of the step."""
    for endless in (False, True):
        place = step * batch * world
        if not endless and place >= -(-size // world) * world:
            continue
        start = divmod(place, size) if endless else (2, place)
        for rank in range(world):
            source = sampler(size, world, rank, seed)
            source.start(*start, endless=endless)
            expected = [index for index, _, _ in read(source, batch)]
            assert source.indices_of(*start, batch) == expected


@prop(few=20, size=sizes, epoch=st.integers(0, 5), seed=seeds)
def test_no_shuffle__in_order_with_seeds_of_its_own(size, epoch, seed):
    source = sampler(size, seed=seed, shuffle=False)
    source.start(epoch)
    seen = read(source)
    assert [index for index, _, _ in seen] == list(range(size))
    assert len({draw for _, draw, _ in seen}) == size
