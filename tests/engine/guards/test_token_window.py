"""What two processes log of their tokens is what one process with both would log."""

import pytest
import torch
import torch.distributed as dist

from beit_mm.engine.guards.codebook_guard_hook import TokenWindow


def parts() -> list[list[tuple]]:
    """Targets and losses of three steps, for each process."""
    generator = torch.Generator().manual_seed(0)
    steps = [
        [
            (torch.randint(6, (n,), generator=generator) // (rank + 1), torch.rand(()) + rank)
            for n in sizes
        ]
        for rank, sizes in enumerate([[8, 3, 5], [2, 9, 4]])
    ]
    steps[0][2] = (steps[0][2][0], torch.tensor(torch.nan))  # left out of the loss
    return steps


def logged(steps) -> list[dict]:
    window = TokenWindow(6, 2)
    found = []
    for ids, loss in steps:
        counts = window.add(ids, loss)
        entropy = torch.special.entr(counts / counts.sum()).sum()
        found.append(dict(counts=counts, gain=window.compare_loss(entropy), entropy=entropy))
    return found


def worker(rank: int, folder) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / 'store'), 2)
    dist.init_process_group('gloo', store=store, rank=rank, world_size=2)
    torch.save(logged(torch.load(folder / 'parts.pth')[rank]), folder / f'rank{rank}.pth')
    dist.destroy_process_group()


@pytest.mark.distributed
def test_two_processes__the_figures_of_both(tmp_path):
    steps = parts()
    torch.save(steps, tmp_path / 'parts.pth')
    context = torch.multiprocessing.get_context('fork')
    workers = [context.Process(target=worker, args=(r, tmp_path), daemon=True) for r in (0, 1)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(timeout=300)
        assert process.exitcode == 0
    joint = [
        (torch.cat([a, b]), (len(a) * x + len(b) * y) / (len(a) + len(b)))
        for (a, x), (b, y) in zip(*steps, strict=True)
    ]
    expected = logged(joint)
    (a, x), (b, y) = steps[0][1], steps[1][1]
    c, z = steps[1][2]  # the other process has a NaN
    loss = (len(a) * x + len(b) * y + len(c) * z) / (len(a) + len(b) + len(c))
    expected[2]['gain'] = 1 - loss / expected[2]['entropy']
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f'rank{rank}.pth'), expected)
    assert len(expected[2]['counts']) == 6


def test_counts__of_the_latest_steps():
    window = TokenWindow(3, 2)
    for ids in ([0, 0], [1], [2, 2, 2]):
        counts = window.add(torch.tensor(ids))
    assert counts.tolist() == [0, 1, 3]


def test_state__of_a_window_of_another_size_begins_anew():
    window, other = TokenWindow(3, 2), TokenWindow(3, 4)
    window.add(torch.tensor([0, 1]), 0.5)
    other.load_training_state(window.training_state())
    assert other.add(torch.tensor([2])).tolist() == [0, 0, 1]
    assert other.loss_sums.sum() == 0


def test_compare_loss__is_nan_where_nothing_is_known():
    window = TokenWindow(3, 1)
    counts = window.add(torch.tensor([0, 1]), float('inf'))
    assert window.compare_loss(torch.special.entr(counts / 2).sum()).isnan()
    window.add(torch.tensor([0, 1]), 0.35)
    assert window.compare_loss(torch.tensor(0.7)).item() == pytest.approx(0.5)
