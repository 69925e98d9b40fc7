"""Tokenizers in two processes: one tokenizer, and that which one process with the joint batch has.

All of it in one pair of processes, which take longer to start than to do this.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F

from beit_mm.contracts import Tokenizer
from beit_mm.engine import CodebookGuardHook, CollapsedCodebookError
from beit_mm.models import DVAETokenizer, ResidualVQTokenizer, VQVAETokenizer
from beit_mm.models.quantizers.binary_quantizer import binary_code_entropies
from beit_mm.models.tokenizers.mini_batch_kmeans import MiniBatchKMeans, kmeans_plus_plus

pytestmark = pytest.mark.distributed

SIZES = dict(vocab_size=16, stride=4, width=8, num_blocks=1)
IMAGES = (3, 1)  # of each process
VECTORS = (30, 50)  # of each process, in each batch of k-means
# The window's tokens. Each process alone would find other codes dead than both of them together.
COUNTS = [[60, 30, 0, 10] + 12 * [0], [50, 0, 40, 10] + 12 * [0]]
LIVING = 4
WIDER = torch.randn(5, 60, generator=torch.Generator().manual_seed(7))


def logit_statistics(images) -> dict:
    torch.manual_seed(0)
    model = DVAETokenizer(**SIZES, code_dim=6, logit_scale=2.0)
    for _ in range(3):
        model(images, mode='loss')
    norm = model.quantizer.logit_norm.state_dict()
    return {name: norm[name] for name in ('running_mean', 'running_var')}


def reset_codes(kind, counts, seed: int, **kwargs):
    """The model before and after, and what the step drew from."""
    torch.manual_seed(0)
    model = kind(**SIZES, **kwargs, reset_dead_codes=dict(interval=1, min_tokens=1))
    model.quantizer.dead_code_reset.counts[0] = torch.tensor(counts)
    before = copy.deepcopy(model)
    torch.manual_seed(seed)
    z = F.normalize(torch.randn(2, 4, 5, 6), dim=-1)
    if kind is VQVAETokenizer:
        model.quantizer._replace_dead(z.flatten(0, 2))
    else:
        model.quantizer.start_step(model.quantized_rows())
    return before, model, z


def residual(seed: int) -> ResidualVQTokenizer:
    """After steps with vectors in one place, where nearly all codes die and are reset_codes."""
    torch.manual_seed(0)
    sizes = dict(stride=4, width=8, num_blocks=1, num_codes=6, num_levels=2, code_dim=3)
    model = ResidualVQTokenizer(**sizes, decay=0.5, reset_share=0.3)
    torch.manual_seed(seed)
    for step in range(4):
        model.quantizer((4 if step else 0) + seed + torch.randn(2, 4, 5, 3))
    return model


def started(kind, images, **kwargs) -> nn.Module:
    torch.manual_seed(0)
    model = kind(**SIZES, code_dim=6, data_init=2.0, **kwargs)
    model.loss(images)
    return model


class Source(Tokenizer):
    def encode(self, images):
        return self.latest_ids


def guarded(token: int) -> dict:
    model = Source(vocab_size=3, stride=1)
    model.latest_ids = torch.full((9,), token)
    logged = {}
    hub = SimpleNamespace(update_scalar=lambda name, value: logged.setdefault(name, value))
    runner = SimpleNamespace(model=model, iter=0, max_iters=10, message_hub=hub)
    hook = CodebookGuardHook(min_perplexity=1.5, grace=0, action='stop', interval=1)
    hook.before_train(runner)
    try:
        hook.after_train_iter(runner, 0)
    except CollapsedCodebookError:
        logged['stopped'] = True
    return logged


def entropies(logits, processes: int) -> dict:
    logits = logits.clone().requires_grad_()
    position, batch = binary_code_entropies(logits)
    (batch / processes).backward()  # their losses are averaged
    return dict(position=position.detach(), batch=batch.detach(), gradient=logits.grad)


def usage_term(logits, processes: int) -> dict:
    logits = logits.clone().requires_grad_()
    # More codes than one process has positions.
    model = DVAETokenizer(**dict(SIZES, vocab_size=60), code_dim=6, usage_target=0.99)
    missing = model.quantizer.missing_usage((logits @ WIDER).log_softmax(-1)[:, None, None])
    (missing / processes).backward()  # their losses are averaged
    return dict(missing=missing.detach(), gradient=logits.grad)


def streams() -> list:
    """Batches of vectors around five means, those of each process."""
    generator = torch.Generator().manual_seed(3)
    means = 4 * torch.randn(5, 4, generator=generator)
    return [
        [
            means[torch.randint(5, (size,), generator=generator)]
            + torch.randn(size, 4, generator=generator)
            + rank  # the processes see different vectors
            for _ in range(7)
        ]
        for rank, size in enumerate(VECTORS)
    ]


def worker(rank: int, folder) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / 'store'), 2)
    dist.init_process_group('gloo', store=store, rank=rank, world_size=2)
    images = torch.load(folder / 'images.pth')
    pair, part = images.chunk(2)[rank], images.split(IMAGES)[rank]
    result = dict(logit_statistics=logit_statistics(pair))

    _, model, _ = reset_codes(DVAETokenizer, COUNTS[rank], seed=rank, code_dim=6, logit_scale=2.0)
    result['dvae'] = model.state_dict()
    _, model, result['z'] = reset_codes(VQVAETokenizer, COUNTS[rank], seed=rank, code_dim=6)
    result['vqvae'] = model.quantizer.weight

    result['residual'] = residual(seed=rank).quantizer.vq.state_dict()

    result['dvae_start'] = started(DVAETokenizer, part).last_conv().state_dict()
    own = started(VQVAETokenizer, part, kmeans_iters=0)
    result['vqvae_start'] = own.encoder[-1].state_dict()

    logits = torch.load(folder / 'logits.pth').split(VECTORS)[rank]
    result['entropies'] = entropies(logits, 2)
    result['usage_term'] = usage_term(logits, 2)

    kmeans = MiniBatchKMeans(5, 4, start_vectors=100)
    result['fitted'] = []
    for batch in streams()[rank]:
        kmeans.fit(batch)
        result['fitted'].append(kmeans.fitted)
    result['kmeans'] = kmeans.state_dict()

    result['guard'] = [guarded(rank), guarded(0)]
    torch.save(result, folder / f'rank{rank}.pth')
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    torch.manual_seed(5)
    images = torch.rand(4, 3, 16, 16)
    images[2:] *= 0.2  # the second process sees dark images
    torch.save(images, folder / 'images.pth')
    logits = 3 * torch.randn(sum(VECTORS), 5)
    torch.save(logits, folder / 'logits.pth')
    context = torch.multiprocessing.get_context('fork')
    workers = [context.Process(target=worker, args=(rank, folder), daemon=True) for rank in (0, 1)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(timeout=300)
        assert process.exitcode == 0
    results = [torch.load(folder / f'rank{rank}.pth') for rank in (0, 1)]
    first, second = results
    return SimpleNamespace(images=images, logits=logits, first=first, second=second)


def assert_equal(ranks, name: str) -> None:
    for key, value in ranks.first[name].items():
        assert torch.equal(value, ranks.second[name][key]), (name, key)


def test_logit_scale__statistics_of_the_joint_batch(ranks):
    assert_equal(ranks, 'logit_statistics')
    expected = logit_statistics(ranks.images)
    torch.testing.assert_close(ranks.first['logit_statistics'], expected)


def test_dvae_usage_term__that_of_the_joint_batch(ranks):
    expected = usage_term(ranks.logits, 1)
    parts = ranks.first['usage_term'], ranks.second['usage_term']
    for part, gradient in zip(parts, expected['gradient'].split(VECTORS), strict=True):
        torch.testing.assert_close(part['missing'], expected['missing'])
        torch.testing.assert_close(part['gradient'], gradient)
    assert expected['missing'] > 0.01


def test_dvae_reset__equals_one_process_with_the_joint_counts_bit_by_bit(ranks):
    joint = torch.tensor(COUNTS).sum(0).tolist()
    before, after, _ = reset_codes(DVAETokenizer, joint, seed=0, code_dim=6, logit_scale=2.0)
    for key, value in after.state_dict().items():
        assert torch.equal(value, ranks.first['dvae'][key]), key
        assert torch.equal(value, ranks.second['dvae'][key]), key
    moved = (before.quantizer.codebook != after.quantizer.codebook).any(1)
    assert moved.tolist() == LIVING * [False] + (16 - LIVING) * [True]


def test_vqvae_reset__vectors_of_both_processes_each_once(ranks):
    before, _, _ = reset_codes(VQVAETokenizer, COUNTS[0], seed=0, code_dim=6)
    book = ranks.first['vqvae']
    assert torch.equal(book, ranks.second['vqvae'])
    assert torch.equal(book[:LIVING], before.quantizer.weight[:LIVING])
    vectors = torch.stack([ranks.first['z'], ranks.second['z']]).flatten(0, 3)
    distances, owners = torch.cdist(book[LIVING:], vectors).min(1)
    torch.testing.assert_close(distances, torch.zeros(16 - LIVING), atol=1e-3, rtol=0)
    assert len(owners.unique()) == 16 - LIVING
    assert (owners < 40).sum() == (owners >= 40).sum() == (16 - LIVING) / 2


def test_residual_vq__one_set_of_codebooks_of_the_vectors_of_both(ranks):
    assert_equal(ranks, 'residual')
    codes = ranks.first['residual']['layers.0._codebook.embed'][0]
    places = torch.tensor([[4.0], [5.0]]).expand(2, 3)  # where the vectors of each process are
    assert (torch.cdist(codes, places).min(1).values < 3).all()  # none stayed at the start
    counts = ranks.first['residual']['layers.0._codebook.cluster_size']
    assert counts.sum().item() == pytest.approx(2 * 40, rel=0.3)


def test_data_init__of_the_joint_batch_though_the_parts_differ_in_size(ranks):
    dvae = started(DVAETokenizer, ranks.images).last_conv()
    vqvae = started(VQVAETokenizer, ranks.images, kmeans_iters=0).encoder[-1]
    for name, conv in dict(dvae_start=dvae, vqvae_start=vqvae).items():
        assert_equal(ranks, name)
        torch.testing.assert_close(ranks.first[name], dict(conv.state_dict()))


def test_entropy_of_binary_codes__of_the_joint_batch_though_the_parts_differ_in_size(ranks):
    alone = entropies(ranks.logits, 1)
    for rank in (ranks.first, ranks.second):
        torch.testing.assert_close(rank['entropies']['batch'], alone['batch'])
    gradients = [rank['entropies']['gradient'] for rank in (ranks.first, ranks.second)]
    torch.testing.assert_close(torch.cat(gradients), alone['gradient'])


def test_kmeans__both_wait_for_the_slower_one_and_have_one_set_of_centers(ranks):
    assert ranks.first['fitted'] == ranks.second['fitted'] == 3 * [False] + 4 * [True]
    assert_equal(ranks, 'kmeans')
    alone = MiniBatchKMeans(5, 4)
    first, second = streams()
    start = kmeans_plus_plus(torch.cat(first[:4]), 5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone.centers.copy_(start)
        alone._move(torch.cat([*first[:4], *second[:4]]))
    for parts in zip(first[4:], second[4:], strict=True):
        alone.fit(torch.cat(parts))
    torch.testing.assert_close(ranks.first['kmeans'], dict(alone.state_dict()))
    assert alone.counts.sum() == 7 * sum(VECTORS)


def test_codebook_guard__judges_the_counts_of_both(ranks):
    for rank in (ranks.first, ranks.second):
        healthy, collapsed = rank['guard']
        assert healthy['train/codebook/codes_used'] == 2  # one in each
        assert healthy['train/codebook/perplexity'] == pytest.approx(2)
        assert 'stopped' not in healthy and collapsed['stopped']
