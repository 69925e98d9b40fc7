import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from beit_mm.models.quantizers import EMAVectorQuantizer, ema_vector_quantizer
from beit_mm.models.quantizers.ema_vector_quantizer import random_rows


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def numpy_step(codes, z, decay):
    """One training step in plain loops, float64."""
    ids = [int(np.argmax([vector @ code for code in codes])) for vector in z]
    result = codes.copy()
    for code in set(ids):
        mean = unit(np.mean([vector for vector, i in zip(z, ids, strict=True) if i == code], 0))
        result[code] = unit(decay * codes[code] + (1 - decay) * mean)
    return result, ids


def test_training_steps__equal_plain_loops_and_leave_unused_codes():
    book = EMAVectorQuantizer(12, 5, 0.5, decay=0.9, kmeans_iters=0).train()
    codes = book.weight.double().numpy()
    for _ in range(4):
        z = torch.randn(2, 3, 5)
        before = book.weight.clone()
        out, ids, losses = book(z)
        vectors = unit(z.reshape(-1, 5).double().numpy())
        chosen = codes
        codes, expected_ids = numpy_step(codes, vectors, 0.9)
        assert ids.flatten().tolist() == expected_ids
        np.testing.assert_allclose(book.weight, codes, atol=1e-6)
        np.testing.assert_allclose(out.reshape(-1, 5), chosen[expected_ids], atol=1e-6)
        distance = np.mean((vectors - chosen[expected_ids]) ** 2)
        assert losses['loss_commit'].item() == pytest.approx(0.5 * distance, rel=1e-4)
        unused = [code for code in range(12) if code not in expected_ids]
        assert unused and torch.equal(book.weight[unused], before[unused])
        torch.testing.assert_close(book.weight.norm(dim=-1), torch.ones(12))


def test_gradient__straight_through_the_codes_to_the_unit_vectors():
    book = EMAVectorQuantizer(6, 4, 1.0, kmeans_iters=0).train()
    z = torch.randn(3, 4, requires_grad=True)
    weights = torch.randn(3, 4)
    codes = book.weight.clone()
    out, ids, losses = book(z)
    (through,) = torch.autograd.grad((out * weights).sum(), z, retain_graph=True)
    (expected,) = torch.autograd.grad((F.normalize(z, dim=-1) * weights).sum(), z)
    torch.testing.assert_close(through, expected)
    (pull,) = torch.autograd.grad(losses['loss_commit'], z)
    distance = (F.normalize(z, dim=-1) - codes[ids]).square().mean()
    torch.testing.assert_close(pull, torch.autograd.grad(distance, z)[0])
    assert list(book.parameters()) == []


def test_eval__changes_nothing_even_before_the_start():
    book = EMAVectorQuantizer(6, 4).eval()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    z = torch.randn(5, 4)
    ids = book(z)[1]
    assert torch.equal(book.train().encode(z), ids)  # encode() never trains
    assert all(torch.equal(book.state_dict()[name], before[name]) for name in before)
    book(z)
    assert not torch.equal(book.weight, before['weight'])


def test_start__is_cosine_kmeans(monkeypatch):
    z = F.normalize(torch.randn(40, 3), dim=-1)
    monkeypatch.setattr(ema_vector_quantizer, 'random_rows', lambda z, number: z[:number])
    book = EMAVectorQuantizer(7, 3, kmeans_iters=4)
    book.start(2.5 * z)
    codes = z[:7].double().numpy()
    for _ in range(4):
        ids = np.argmax(z.double().numpy() @ codes.T, axis=1)
        codes = np.stack([unit(z.double().numpy()[ids == code].sum(0)) for code in range(7)])
    np.testing.assert_allclose(book.weight, codes, atol=1e-6)
    assert book.initialized


def test_start__once_and_not_after_loading():
    book = EMAVectorQuantizer(4, 3, decay=1.0).train()
    z = torch.randn(30, 3)
    book(z)
    started = book.weight.clone()
    book(torch.randn(30, 3))
    torch.testing.assert_close(book.weight, started)  # decay 1: only a start could move them
    for state in (book.state_dict(), dict(weight=started)):
        other = EMAVectorQuantizer(4, 3, decay=1.0).train()
        other.load_state_dict(state)
        other(z)
        torch.testing.assert_close(other.weight, started)


def test_start__fewer_vectors_than_codes():
    book = EMAVectorQuantizer(9, 3).train()
    z = F.normalize(torch.randn(4, 3), dim=-1)
    book(z)
    assert (book.weight @ z.T).amax(1).min() > 0.2  # no code is left where no vector is


class LargestTensor(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize('kmeans_iters', [0, 1])
def test_no_tensor_of_all_vectors_by_all_codes(monkeypatch, kmeans_iters):
    monkeypatch.setattr(ema_vector_quantizer, 'CHUNK_ELEMENTS', 2**16)
    book = EMAVectorQuantizer(4096, 8, kmeans_iters=kmeans_iters).train()
    z = torch.randn(1024, 8, requires_grad=True)
    with LargestTensor() as record:
        book(z)[2]['loss_commit'].backward()
        book.encode(z)
    assert 4096 * 8 <= record.numel <= 2**16  # the codes themselves, and one chunk of rows


@pytest.mark.parametrize('elements', [1, 40, 2**24])
def test_nearest__chunks_make_no_difference(monkeypatch, elements):
    monkeypatch.setattr(ema_vector_quantizer, 'CHUNK_ELEMENTS', elements)
    z, codes = torch.randn(17, 3), torch.randn(5, 3)
    assert torch.equal(ema_vector_quantizer.nearest(z, codes), (z @ codes.T).argmax(1))


def test_autocast__codes_are_compared_in_float32():
    book = EMAVectorQuantizer(256, 8, kmeans_iters=0).eval()
    z = torch.randn(500, 8)
    with torch.autocast('cpu', torch.bfloat16):
        out, ids, losses = book(z)
    assert out.dtype == losses['loss_commit'].dtype == torch.float32
    assert torch.equal(ids, book(z)[1])


def two_processes(rank: int, folder, steps: int) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / 'store'), 2)
    dist.init_process_group('gloo', store=store, rank=rank, world_size=2)
    torch.manual_seed(rank)  # other random choices and other data in each
    started = EMAVectorQuantizer(6, 3, kmeans_iters=30).train()
    torch.manual_seed(7)
    following = EMAVectorQuantizer(6, 3, decay=0.5, kmeans_iters=0).train()
    z = torch.load(folder / 'z.pth')[rank]
    drawn = EMAVectorQuantizer(6, 3, kmeans_iters=0)
    drawn.start(z)
    started.start(z)
    start = started.weight.clone()
    for step in range(steps):
        started(z[step])
        following(z[step])
    if rank == 0:  # alone: it would wait for ever for the other process
        started.eval()(z)
        started.encode(z)
    torch.save(
        dict(drawn=drawn.weight, start=start, trained=started.weight, following=following.weight),
        folder / f'rank{rank}.pth',
    )
    dist.destroy_process_group()


@pytest.mark.distributed
def test_two_processes__one_start_and_one_codebook(tmp_path):
    z = torch.randn(2, 3, 20, 3)
    z[1, ..., 0] += 2  # the processes see different images
    torch.save(z, tmp_path / 'z.pth')
    context = torch.multiprocessing.get_context('fork')
    workers = [
        context.Process(target=two_processes, args=(rank, tmp_path, 3), daemon=True)
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
        assert worker.exitcode == 0
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2))
    for name in first:
        assert torch.equal(first[name], second[name]), name

    # The start is a fixed point of k-means on the vectors of both processes.
    everything = F.normalize(z, dim=-1).flatten(0, 2)
    owners = torch.cdist(first['drawn'], everything).argmin(1) // 60
    assert owners.tolist() == [0, 0, 0, 1, 1, 1]  # it begins with as many vectors of each process
    ids = (everything @ first['start'].T).argmax(1)
    means = torch.stack([F.normalize(everything[ids == code].sum(0), dim=-1) for code in range(6)])
    torch.testing.assert_close(first['start'], means, atol=1e-5, rtol=0)

    # Two processes with half a batch each do what one does with all of it.
    torch.manual_seed(7)
    alone = EMAVectorQuantizer(6, 3, decay=0.5, kmeans_iters=0).train()
    for step in range(3):
        alone(z[:, step])
    torch.testing.assert_close(first['following'], alone.weight)


def test_random_rows__each_once_where_there_are_enough():
    z = torch.arange(40.0)[:, None]
    assert random_rows(z, 40).flatten().sort().values.tolist() == list(range(40))
    assert random_rows(z, 50).shape == (50, 1)
