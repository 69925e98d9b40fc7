import pytest
import torch
import torch.distributed as dist
import torch.nn as nn

from beit_mm.models.layers.init import standardize_output_
from beit_mm.models.layers.joint_sum import JointBatchNorm2d

COUNTS = (3, 1)  # images of each process


def trained(norm, batches, weights):
    """The outputs, the gradient of the inputs, and what the norm keeps after some steps."""
    outputs, gradients = [], []
    for x, weight in zip(batches, weights, strict=True):
        x = x.clone().requires_grad_()
        out = norm(x)
        (out * weight).square().sum().backward()
        outputs.append(out.detach())
        gradients.append(x.grad)
    return dict(outputs=outputs, gradients=gradients, state=dict(norm.state_dict()))


def data():
    x = torch.randn(2, sum(COUNTS), 5, 2, 3)
    x[:, -1] = 3 * x[:, -1] + 4  # the processes see different images
    return x, torch.randn_like(x)


def worker(rank: int, folder) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / 'store'), 2)
    dist.init_process_group('gloo', store=store, rank=rank, world_size=2)
    x, weights = (part.split(COUNTS, dim=1)[rank] for part in torch.load(folder / 'data.pth'))
    norm = JointBatchNorm2d(5)
    result = trained(norm, x, weights)
    if rank == 0:  # alone: it would wait for ever for the other process
        result['eval'] = norm.eval()(x[0])
    conv = nn.Conv2d(5, 4, 1)
    conv.load_state_dict(torch.load(folder / 'conv.pth'))
    half = torch.load(folder / 'data.pth')[0][0].chunk(2)[rank]
    standardize_output_(conv, conv(half), 2.0)
    torch.save(dict(result, conv=conv.state_dict()), folder / f'rank{rank}.pth')
    dist.destroy_process_group()


@pytest.mark.distributed
def test_two_processes__equal_one_with_the_joint_batch(tmp_path):
    x, weights = data()
    conv = nn.Conv2d(5, 4, 1)
    torch.save((x, weights), tmp_path / 'data.pth')
    torch.save(conv.state_dict(), tmp_path / 'conv.pth')
    context = torch.multiprocessing.get_context('fork')
    workers = [
        context.Process(target=worker, args=(rank, tmp_path), daemon=True) for rank in range(2)
    ]
    for process in workers:
        process.start()
    for process in workers:
        process.join(timeout=300)
        assert process.exitcode == 0
    ranks = [torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2)]
    norm = nn.BatchNorm2d(5, affine=False)
    expected = trained(norm, x, weights)
    for key in ('outputs', 'gradients'):
        joint = [torch.cat(parts) for parts in zip(ranks[0][key], ranks[1][key], strict=True)]
        torch.testing.assert_close(joint, expected[key], atol=1e-5, rtol=1e-5)
    for name, value in expected['state'].items():
        assert torch.equal(ranks[0]['state'][name], ranks[1]['state'][name]), name
        torch.testing.assert_close(ranks[0]['state'][name], value)
    torch.testing.assert_close(ranks[0]['eval'], norm.eval()(x[0, :3]))

    standardize_output_(conv, conv(x[0]), 2.0)
    for rank in ranks:
        torch.testing.assert_close(rank['conv'], dict(conv.state_dict()))
    out = conv(x[0]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(1, correction=0), torch.full((4,), 2.0))


def test_one_process__is_batch_norm_bit_by_bit():
    x, weights = data()
    norm = nn.BatchNorm2d(5, affine=False)
    joint = JointBatchNorm2d(5)
    got, expected = trained(joint, x, weights), trained(norm, x, weights)
    for key in ('outputs', 'gradients'):
        assert all(map(torch.equal, got[key], expected[key]))
    assert list(got['state']) == list(expected['state'])
    assert all(torch.equal(got['state'][name], expected['state'][name]) for name in got['state'])
    assert torch.equal(joint.eval()(x[0]), norm.eval()(x[0]))
    JointBatchNorm2d(5).load_state_dict(norm.state_dict())
    assert not list(joint.parameters())


def test_one_value_for_each_channel__is_refused():
    with pytest.raises(ValueError, match='more than 1 value'):
        JointBatchNorm2d(5)(torch.randn(1, 5, 1, 1))
