import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans as Reference

from beit_mm.models.tokenizers.mini_batch_kmeans import MiniBatchKMeans, kmeans_plus_plus


def stream(batches=6, size=50, dims=4):
    generator = torch.Generator().manual_seed(3)
    means = 4 * torch.randn(5, dims, generator=generator)
    for _ in range(batches):
        which = torch.randint(5, (size,), generator=generator)
        yield means[which] + torch.randn(size, dims, generator=generator)


def fitted(**kwargs):
    kmeans = MiniBatchKMeans(5, 4, **kwargs)
    for batch in stream():
        kmeans.fit(batch)
    return kmeans


def test_against_scikit_learn__from_the_same_start():
    batches = list(stream())
    kmeans = MiniBatchKMeans(5, 4, start_vectors=50)
    start = kmeans_plus_plus(batches[0], 5, torch.Generator().manual_seed(0))
    reference = Reference(5, init=start.double().numpy(), n_init=1, reassignment_ratio=0)
    for batch in batches:
        kmeans.fit(batch)
        reference.partial_fit(batch.double().numpy())
    np.testing.assert_allclose(kmeans.centers.detach(), reference.cluster_centers_, atol=1e-4)
    ids, distances = kmeans(batches[0])
    np.testing.assert_array_equal(ids, reference.predict(batches[0].double().numpy()))
    nearest = reference.transform(batches[0].double().numpy()).min(1)
    np.testing.assert_allclose(distances, nearest**2, rtol=1e-3, atol=1e-4)


def test_centers__are_the_means_of_all_that_chose_them():
    kmeans = MiniBatchKMeans(2, 1, start_vectors=4)
    kmeans.fit(torch.tensor([[0.0], [1.0], [10.0], [12.0]]))
    kmeans.fit(torch.tensor([[2.0], [14.0]]))
    centers = kmeans.centers.detach().flatten().sort().values
    torch.testing.assert_close(centers, torch.tensor([1.0, 12.0]))
    assert sorted(kmeans.counts.tolist()) == [3, 3]


def test_the_same_stream__gives_the_same_centers_whatever_the_global_seed():
    first = fitted()
    torch.manual_seed(99)
    second, other = fitted(), fitted(seed=1)
    assert torch.equal(first.centers, second.centers)
    assert not torch.equal(first.centers, other.centers)


def test_start__waits_for_enough_vectors_and_counts_each_once():
    kmeans = MiniBatchKMeans(5, 4, start_vectors=120)
    for number, batch in enumerate(stream()):
        kmeans.fit(batch)
        assert kmeans.fitted == (number >= 2)
        assert kmeans.counts.sum() == (50 * (number + 1) if number >= 2 else 0)
    assert not kmeans.waiting


def test_kmeans_plus_plus__takes_each_of_far_clusters():
    z = torch.tensor([0.0, 100, 200, 300]).repeat_interleave(25)[:, None] + torch.rand(100, 1)
    for seed in range(20):
        chosen = kmeans_plus_plus(z, 4, torch.Generator().manual_seed(seed))
        assert sorted((chosen.flatten() // 100).long().tolist()) == [0, 1, 2, 3]


def test_fewer_different_vectors_than_centers__still_starts():
    kmeans = MiniBatchKMeans(5, 4, start_vectors=5)
    kmeans.fit(torch.ones(20, 4))
    assert kmeans.fitted and torch.equal(kmeans.centers.detach(), torch.ones(5, 4))


def test_chunks__change_nothing(monkeypatch):
    kmeans, z = fitted(), next(stream())
    ids, distances = kmeans(z)
    monkeypatch.setattr('beit_mm.models.tokenizers.mini_batch_kmeans.CHUNK_ELEMENTS', 35)
    parts = kmeans(z)
    assert torch.equal(ids, parts[0])
    # Differences of larger numbers: their rounding depends on how a product is cut.
    torch.testing.assert_close(distances, parts[1], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('shape', [(2, 3, 4), (6, 4)])
def test_shapes(shape):
    ids, distances = fitted()(torch.randn(shape))
    assert ids.shape == distances.shape == shape[:-1]


def test_autocast__distances_and_fits_stay_float32():
    """Near vectors far from the origin: their distances are differences of large numbers."""
    z = 100 + torch.randn(200, 4)
    plain, own = (MiniBatchKMeans(5, 4, start_vectors=100) for _ in range(2))
    with torch.autocast('cpu', torch.bfloat16):
        own.fit(z)
        got = own(z)
    plain.fit(z)
    assert torch.equal(own.centers, plain.centers)
    for mine, expected in zip(got, plain(z), strict=True):
        assert torch.equal(mine, expected)


def test_a_checkpoint_before_the_start__has_the_centers_of_what_came_and_is_not_the_start():
    """The data may end there; the training itself goes on waiting, resumed or not."""
    batches = list(stream())
    calm, chaos, resumed = (MiniBatchKMeans(5, 4, start_vectors=120) for _ in range(3))
    for batch in batches[:2]:
        calm.fit(batch)
        chaos.fit(batch)
    file, state = chaos.state_dict(), chaos.training_state()
    assert not chaos.fitted and not chaos.centers.any()
    early = MiniBatchKMeans(5, 4)
    early.load_state_dict(file)
    drawn = kmeans_plus_plus(torch.cat(batches[:2]), 5, torch.Generator().manual_seed(0))
    assert early.fitted and torch.equal(early.centers, drawn)
    resumed.load_training_state(state)
    resumed.load_state_dict(file)
    assert not resumed.fitted
    for batch in batches[2:]:
        calm.fit(batch)
        resumed.fit(batch)
    assert torch.equal(calm.centers, resumed.centers) and torch.equal(calm.counts, resumed.counts)
