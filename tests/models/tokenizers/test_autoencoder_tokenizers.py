"""What all tokenizers with an encoder, a quantizer and a decoder have in common."""

import math

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from vector_quantize_pytorch import FSQ, LFQ

from beit_mm.contracts import UserError
from beit_mm.models import AutoencoderTokenizer
from beit_mm.registry import MODELS

pytestmark = pytest.mark.slow

SIZES = dict(stride=4, width=8, num_blocks=1)
KINDS = [
    dict(type='VQVAETokenizer', vocab_size=12, code_dim=5),
    dict(type='VQVAETokenizer', vocab_size=12, code_dim=5, reset_dead_codes=dict(interval=2)),
    dict(type='ResidualVQTokenizer', num_codes=4, num_levels=3, code_dim=5),
    dict(type='FSQTokenizer', levels=(5, 4, 3)),
    dict(type='LFQTokenizer', bits=5),
    dict(type='BSQTokenizer', bits=5),
]


def build(kind, **kwargs):
    kind = dict(kind, **SIZES, **kwargs)
    return MODELS.build(dict(kind, type=f'beit_mm.{kind["type"]}'))


def images(size=4):
    """A random color for each patch."""
    colors = torch.rand(size, 3, 3, 5)
    return colors.repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture(params=KINDS, ids=lambda kind: '-'.join(map(str, kind.values())))
def model(request):
    model = build(request.param)
    model.loss(images())  # codebooks start
    return model


def test_encode_decode__shapes_range_and_determinism(model):
    model.eval()
    batch = images()
    ids = model.encode(batch)
    assert ids.shape == (4, 3, 5) and ids.dtype == torch.long
    assert 0 <= ids.min() and ids.max() < model.vocab_size
    assert torch.equal(ids, model.encode(batch))
    assert torch.equal(ids[1:2], model.encode(batch[1:2]))
    assert model.decode(ids).shape == batch.shape


def test_encode__changes_nothing_even_in_training_mode(model):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.encode(images())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_training_and_frozen_tokenizer__give_the_same_ids_and_codes(model):
    z = model.vectors(images()).detach()
    model.eval()
    codes, ids, _ = model.quantizer(z)
    assert torch.equal(ids, model.quantizer.encode(z))
    torch.testing.assert_close(codes, model.quantizer.lookup(ids), atol=1e-5, rtol=1e-5)


def test_code_vectors__are_all_different_and_their_own_tokens(model):
    model.eval()
    codes = model.code_vectors()
    assert codes.shape == (model.vocab_size, model.quantizer.code_dim)
    assert len(codes.unique(dim=0)) == model.vocab_size


def test_loss__every_weight_has_a_gradient_and_ids_are_kept_in_training(model):
    batch = images()
    model.eval()
    model.latest_ids = None
    model.loss(batch)
    assert model.latest_ids is None
    expected = model.encode(batch)
    losses = model.train().loss(batch)
    assert torch.equal(model.latest_ids, expected) and not model.latest_ids.requires_grad
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_state_dict__gives_the_same_tokenizer_back(model, request):
    again = build(request.node.callspec.params['model'])
    again.load_state_dict(model.state_dict())
    batch = images()
    assert torch.equal(model.eval().encode(batch), again.eval().encode(batch))


def test_training_one_batch__reconstructs_it(model):
    model.train()
    batch = images(2)
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-2))
    first = last = model.loss(batch)['loss_recon'].item()
    for _ in range(60):
        losses = model.loss(batch)
        last = losses['loss_recon'].item()
        wrapper.update_params(model.parse_losses(losses)[0])
    assert last < 0.7 * first


def test_data_init__the_first_batch_is_spread_and_later_ones_change_nothing():
    model, batch = build(KINDS[3], data_init=2.0), images(8)
    model.loss(batch)
    z = model.vectors(batch).flatten(0, 2)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.full((3,), 2.0), atol=1e-3, rtol=0)
    before = model.encoder[-1].weight.clone()
    model.loss(images(8))
    assert torch.equal(before, model.encoder[-1].weight)
    assert 'initialized' not in build(KINDS[3], data_init=None).state_dict()


def test_data_init__evaluation_does_not_start_it():
    model = build(KINDS[3], data_init=2.0).eval()
    before = model.encoder[-1].weight.clone()
    model.loss(images())
    assert torch.equal(before, model.encoder[-1].weight) and not model.initialized


def test_images__sizes_and_channels_in_errors(model):
    with pytest.raises(ValueError, match='stride=4 does not divide'):
        model.encode(torch.rand(1, 3, 10, 8))
    with pytest.raises(ValueError, match='in_channels=3, but the images have 4 channels'):
        model.encode(torch.rand(1, 4, 8, 8))


@pytest.mark.parametrize('levels', [(8, 6, 5), (5, 3), (4, 4, 3, 3), (7, 5, 5, 5, 5)])
def test_fsq__equals_vector_quantize_pytorch_bit_by_bit(levels):
    library, own = FSQ(list(levels)), build(dict(type='FSQTokenizer', levels=levels)).quantizer
    z = (2 * torch.randn(2, 30, len(levels))).requires_grad_()
    for mine, theirs in zip(own(z), library(z), strict=False):
        assert torch.equal(mine, theirs)
    gradients = [torch.autograd.grad(q(z)[0].sin().sum(), z)[0] for q in (own, library)]
    assert torch.equal(*gradients)
    ids = torch.arange(own.vocab_size)
    assert torch.equal(own.lookup(ids), library.indices_to_codes(ids[None])[0])


def test_fsq__closed_form():
    """Levels 5 and 3: round(tanh(z) * (L - 1) / 2 * (1 + 1e-3)), ids in mixed radix."""
    model = build(dict(type='FSQTokenizer', levels=(5, 3)))
    z = torch.linspace(-3, 3, 25)
    z = torch.stack(torch.meshgrid(z, z, indexing='ij'), -1)[None]
    steps = torch.stack(
        [(z[..., i].tanh() * half * 1.001).round() for i, half in enumerate((2, 1))], -1
    )
    codes, ids, losses = model.quantizer(z.requires_grad_())
    torch.testing.assert_close(codes.detach(), steps.detach() / torch.tensor([2.0, 1.0]))
    assert torch.equal(ids, (steps[..., 0] + 2 + 5 * (steps[..., 1] + 1)).long())
    assert losses == {} and len(ids.unique()) == 15
    codes.sum().backward()
    expected = (1 - z.detach().tanh() ** 2) * 1.001
    torch.testing.assert_close(z.grad, expected)


@pytest.mark.parametrize('kind', ['LFQTokenizer', 'BSQTokenizer'])
def test_lfq__closed_form(kind):
    model = build(dict(type=kind, bits=4))
    z = torch.randn(2, 3, 5, 4)
    z[0, 0, 0, 1] = 0.0  # no bit, in training and in evaluation
    codes, ids, _ = model.quantizer(z)
    assert torch.equal(ids, model.quantizer.encode(z))
    signs = torch.where(z > 0, 1.0, -1.0)
    torch.testing.assert_close(codes, signs / 2 if kind == 'BSQTokenizer' else signs)  # 1 / sqrt(4)
    bits = (z > 0).long()
    assert torch.equal(ids, 8 * bits[..., 0] + 4 * bits[..., 1] + 2 * bits[..., 2] + bits[..., 3])


@pytest.mark.parametrize('diversity', [1.0, 0.5])
@pytest.mark.parametrize('weight', [1.0, 0.3])
def test_lfq__entropy_term_is_lower_when_the_batch_uses_all_tokens(diversity, weight):
    """By weight * diversity * ln 8: each position is sure of its token in both."""
    kind = dict(
        type='LFQTokenizer',
        bits=3,
        entropy_weight=weight,
        diversity=diversity,
        commitment_weight=0.0,
    )
    model = build(kind)
    corners = model.code_vectors()
    spread = model.quantizer(corners.view(1, 2, 4, 3))[2]['loss_auxiliary']
    single = model.quantizer(corners[:1].expand(8, 3).reshape(1, 2, 4, 3))[2]['loss_auxiliary']
    gain = weight * diversity * math.log(8)
    assert (single - spread).item() == pytest.approx(gain, abs=1e-2)


@pytest.mark.parametrize('weight', [0.02, 0.7])
def test_lfq__commitment_is_the_squared_distance_to_the_signs(weight):
    model = build(dict(type='LFQTokenizer', bits=4, entropy_weight=0.0, commitment_weight=weight))
    z = torch.randn(2, 3, 5, 4)
    auxiliary = model.quantizer(z)[2]['loss_auxiliary']
    torch.testing.assert_close(auxiliary, weight * F.mse_loss(z, torch.where(z > 0, 1.0, -1.0)))


@pytest.mark.parametrize('kind', ['LFQTokenizer', 'BSQTokenizer'])
@pytest.mark.parametrize('temperature', [0.01, 2.0])
def test_lfq__equals_vector_quantize_pytorch(kind, temperature):
    options = dict(entropy_weight=0.3, diversity=0.7, commitment_weight=0.2)
    model = build(dict(type=kind, bits=4, temperature=temperature), **options)
    library = LFQ(
        dim=4,
        spherical=kind == 'BSQTokenizer',
        entropy_loss_weight=0.3,
        diversity_gamma=0.7,
        commitment_loss_weight=0.2,
    )
    # Where a number is within the temperature: a position that is sure of its code has none.
    z = (0.5 * torch.randn(2, 3, 5, 4)).requires_grad_()
    codes, ids, losses = model.quantizer(z)
    their_codes, their_ids, their_loss = library(z.flatten(1, 2), inv_temperature=1 / temperature)
    assert torch.equal(ids, their_ids.view_as(ids))
    torch.testing.assert_close(codes, their_codes.view_as(codes))
    torch.testing.assert_close(
        model.quantizer.lookup(ids), library.indices_to_codes(their_ids).view_as(z)
    )
    # Their logarithm ends at 1e-5.
    torch.testing.assert_close(losses['loss_auxiliary'], their_loss, atol=1e-3, rtol=1e-3)
    mine, theirs = (
        torch.autograd.grad((out * torch.arange(4.0)).sum(), z, retain_graph=True)[0]
        for out in (codes, their_codes)
    )
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('kind', [KINDS[i] for i in (0, 3, 4)], ids=lambda kind: kind['type'])
def test_encode_decode__of_a_model_in_another_precision(kind, dtype):
    model = build(kind)
    batch = images(32)
    ids = model.encode(batch)
    expected = model.decode(ids)
    model = model.to(dtype).eval()
    assert (model.encode(batch.to(dtype)) == ids).double().mean() > 0.9
    torch.testing.assert_close(model.decode(ids).float(), expected, atol=0.05, rtol=0.05)
    if kind['type'] == 'VQVAETokenizer':
        likeliest = model.posterior(batch.to(dtype)).argmax(-1)
        assert (likeliest == ids).double().mean() > 0.9


def test_lfq__names_and_values_in_the_state_dict_are_the_librarys():
    """Their digest is what token caches and pre-trainings of before are tied to."""
    model = build(dict(type='LFQTokenizer', bits=4))
    names = {name for name in model.state_dict() if name.startswith('quantizer')}
    assert names == {'quantizer.mask'}
    theirs = LFQ(dim=4).state_dict()['mask']
    assert torch.equal(model.quantizer.mask, theirs) and theirs.dtype == model.quantizer.mask.dtype


@pytest.mark.parametrize(
    'change',
    [
        dict(bits=0),
        dict(bits=21),
        dict(bits=8.0),
        dict(bits=True),
        dict(bits=None),
        dict(temperature=0.0),
        dict(temperature=1e-9),
        dict(temperature='0.01'),
    ],
)
def test_lfq__options_out_of_range_are_named(change):
    (name,) = change
    with pytest.raises(ValueError, match=f'LFQ.{name}='):
        build(dict(type='LFQTokenizer', **change))


def test_residual_vq__levels_quantize_what_is_left():
    model = build(KINDS[2])
    model.loss(images())
    model.eval()
    z = torch.randn(1, 2, 3, 5)
    books = [level._codebook.embed[0] for level in model.quantizer.vq.layers]
    left, ids = z, 0
    for book in books:
        nearest = torch.cdist(left.flatten(0, 2), book).argmin(1).view(1, 2, 3)
        left, ids = left - book[nearest], 4 * ids + nearest
    assert torch.equal(model.quantizer.encode(z), ids)
    torch.testing.assert_close(model.quantizer.lookup(ids), z - left)


def test_residual_vq__commitment_is_that_of_all_levels_and_decay_1_keeps_the_codes():
    model = build(dict(KINDS[2], commitment_weight=0.5, decay=1.0, reset_share=0.0))
    model.loss(images())
    books = [level._codebook.embed[0].clone() for level in model.quantizer.vq.layers]
    z = torch.randn(1, 2, 3, 5)
    left, expected = z.flatten(0, 2), 0.0
    for book in books:
        chosen = book[torch.cdist(left, book).argmin(1)]
        expected += 0.5 * F.mse_loss(left, chosen)
        left = left - chosen
    torch.testing.assert_close(model.quantizer(z)[2]['loss_commit'], expected)
    for book, level in zip(books, model.quantizer.vq.layers, strict=True):
        torch.testing.assert_close(book, level._codebook.embed[0])
    following = build(dict(KINDS[2], reset_share=0.0, decay=0.5))
    following.load_state_dict(model.state_dict())
    following.quantizer(z)
    assert not torch.allclose(books[0], following.quantizer.vq.layers[0]._codebook.embed[0])


@pytest.mark.parametrize('share, reset_after', [(0.3, 2), (0.0, None)])
def test_residual_vq__a_code_is_reset_under_its_share_of_the_moving_count(share, reset_after):
    """Unused from the second step on, counts are 1, 1/2, 1/4 ... of a code's due."""
    kind = dict(type='ResidualVQTokenizer', num_codes=4, num_levels=1, code_dim=2)
    model = build(dict(kind, decay=0.5, reset_share=share))
    corners = 10 * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    book = model.quantizer.vq.layers[0]._codebook
    model.quantizer(corners.repeat_interleave(10, 0).view(1, 5, 8, 2))  # starts it somehow
    book.embed.copy_(corners[None])
    book.cluster_size.fill_(10)
    book.embed_avg.copy_(10 * corners[None])
    far = corners[0] + 0.1 * torch.randn(1, 5, 8, 2)  # all of them in one corner
    for step in range(1, 4):
        model.quantizer(far)
        there = ((book.embed[0] - corners[0]).norm(dim=1) < 1).sum().item()
        assert there == (4 if reset_after and step >= reset_after else 1), step


def test_residual_vq__too_many_tokens_for_a_head():
    with pytest.raises(ValueError, match=r'num_codes=256 \*\* num_levels=4'):
        build(dict(type='ResidualVQTokenizer', num_codes=256, num_levels=4))


def test_vqvae__nearest_cosine_and_its_posterior():
    model = build(KINDS[0])
    batch = images()
    model.loss(batch)
    z, codes = F.normalize(model.vectors(batch), dim=-1), model.quantizer.weight
    nearest = torch.cdist(z.flatten(0, 2), codes).argmin(1).view(4, 3, 5)
    assert torch.equal(model.encode(batch), nearest)
    posterior = model.posterior(batch)
    assert torch.equal(posterior.argmax(-1), nearest)
    torch.testing.assert_close(posterior, (z @ codes.T / 0.1).softmax(-1))
    wider = model.quantizer.posterior(model.vectors(batch), 0.5)
    torch.testing.assert_close(wider, (z @ codes.T / 0.5).softmax(-1))


@pytest.mark.parametrize('weight', [0.25, 2.0])
def test_vqvae__commitment_is_the_squared_distance_of_unit_vectors(weight):
    model = build(dict(KINDS[0], commitment_weight=weight, decay=0.6, kmeans_iters=0))
    z = torch.randn(2, 3, 5, 5)
    unit, codes = F.normalize(z, dim=-1), model.quantizer.weight.clone()
    ids = (unit @ codes.T).argmax(-1)
    _, got, losses = model.quantizer(z)
    assert torch.equal(got, ids)
    torch.testing.assert_close(losses['loss_commit'], weight * F.mse_loss(unit, codes[ids]))
    code = ids.flatten()[0]  # and the codes follow by their own decay
    mean = F.normalize(unit[ids == code].sum(0), dim=-1)
    moved = F.normalize(0.6 * codes[code] + 0.4 * mean, dim=-1)
    torch.testing.assert_close(model.quantizer.weight[code], moved)


def test_vqvae__kmeans_iters_start_the_codes_on_vectors():
    model = build(dict(KINDS[0], decay=1.0, kmeans_iters=0))
    random = model.quantizer.weight.clone()
    model.loss(images())
    torch.testing.assert_close(model.quantizer.weight, random)
    started = build(dict(KINDS[0], decay=1.0))
    z = torch.randn(2, 3, 5, 5)
    started.quantizer(z)
    similar = started.quantizer.weight @ F.normalize(z.view(-1, 5), dim=-1).T
    assert similar.max(1).values.min() > 0.8


@pytest.mark.parametrize('training', [True, False])
def test_vqvae__reset_is_a_part_of_the_training_step_alone(training):
    model = build(
        dict(KINDS[0], decay=1.0, kmeans_iters=0, reset_dead_codes=dict(interval=1, min_tokens=1))
    )
    model.quantizer.dead_code_reset.counts[0] = torch.tensor([30, 30] + 10 * [0])
    before = model.quantizer.weight.clone()
    model.train(training).quantizer(torch.randn(2, 3, 5, 5))
    moved = (~torch.isclose(before, model.quantizer.weight).all(1)).tolist()
    assert moved == 2 * [False] + 10 * [training]


def test_vqvae__dead_codes_go_to_vectors_of_the_batch():
    model = build(dict(KINDS[0], reset_dead_codes=dict(interval=1, min_tokens=1)))
    model.loss(images())
    model.quantizer.dead_code_reset.counts.zero_()
    model.quantizer.dead_code_reset.counts[0] = torch.tensor([30, 30] + 10 * [0])
    before, z = model.quantizer.weight.clone(), torch.randn(1, 2, 3, 5)
    model.quantizer._replace_dead(F.normalize(z.flatten(0, 2), dim=-1))
    after = model.quantizer.weight
    assert torch.equal(before[:2], after[:2])
    similar = after[2:] @ F.normalize(z.view(6, 5), dim=-1).T
    torch.testing.assert_close(similar.max(1).values, torch.ones(10))


def test_without_the_library__the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'vector_quantize_pytorch', None)
    with pytest.raises(ImportError, match='ResidualVQ needs.*tokenizers'):
        build(KINDS[2])
    for kind in (KINDS[0], *KINDS[3:]):
        build(kind)


def test_fsq__scale_leaves_nothing_of_a_run_to_one_end():
    """In training the tokens don't depend on shift and scale of the last layer, nor do gradients
    vanish where tanh is flat."""
    torch.manual_seed(0)
    images = torch.rand(4, 3, 16, 16)
    tiny = dict(type='FSQTokenizer', levels=(5, 3), width=8, num_blocks=1, data_init=None)
    scaled, plain = MODELS.build(dict(tiny, scale=1.0)), MODELS.build(tiny)
    plain.load_state_dict(scaled.state_dict(), strict=False)
    scaled.norm.eps = 1e-12
    before = scaled.vectors(images)
    for model in (scaled, plain):
        with torch.no_grad():
            model.encoder[-1].weight.mul_(3.0)
            model.encoder[-1].bias.add_(50.0)
        model.loss(images)['loss_recon'].backward()
    assert (plain.encode(images) == plain.encode(images)[0, 0, 0]).all()
    torch.testing.assert_close(scaled.vectors(images), before, rtol=0, atol=0.01)
    assert len(scaled.encode(images).unique()) > 4
    assert plain.encoder[0].weight.grad.abs().max() == 0
    assert scaled.encoder[0].weight.grad.abs().max() > 0
    # running statistics in eval mode: as many tokens, whatever else is in the batch
    for _ in range(100):
        scaled.vectors(images)
    scaled.eval()
    torch.testing.assert_close(scaled.vectors(images[:1]), scaled.vectors(images)[:1])


@pytest.mark.parametrize('kind', KINDS[:1] + KINDS[2:5])
def test_images_outside_of_the_unit_range__refused(kind):
    model = build(kind)
    with pytest.raises(ValueError, match=r'takes images in \[0, 1\].*std'):
        model.loss(255 * images())


def test_residual_vq__without_a_training_step_there_are_no_codes():
    """The library would start them with the batch that it is asked about, in evaluation too."""
    for training in (True, False):
        model = build(KINDS[2]).train(training)
        with pytest.raises(ValueError, match='ResidualVQ has no codes yet'):
            model.encode(images())
        assert not model.quantizer.vq.layers[0]._codebook.initted


@pytest.mark.parametrize('levels', [(2,), (5, 2), (1, 5), ()])
def test_fsq__too_few_levels_are_named(levels):
    with pytest.raises(ValueError, match='FSQ.levels=.*expected 3 or more'):
        build(dict(type='FSQTokenizer', levels=levels))


@pytest.mark.parametrize('value', [0.0, -1.0, math.nan])
def test_data_init__of_no_spread_is_refused(value):
    with pytest.raises(ValueError, match=f'VQVAETokenizer.data_init={value}: expected a positive'):
        build(KINDS[0], data_init=value)


@pytest.mark.parametrize('scale', [0.5, 2.0])
def test_fsq__scale_is_the_spread_of_what_is_quantized(scale):
    model = build(dict(type='FSQTokenizer', levels=(5, 4, 3)), scale=scale, data_init=None)
    z = model.vectors(images(8)).flatten(0, 2)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    spread = z.std(0, correction=0)
    torch.testing.assert_close(spread, torch.full((3,), scale), rtol=0.1, atol=0)  # its eps


@pytest.mark.parametrize('coder', ['Conv', 'Patch', 'DALLEPytorch', 'DALLE'])
@pytest.mark.parametrize(
    'quantizer',
    [
        dict(type='GumbelQuantizer', vocab_size=12, code_dim=5),
        dict(type='EMAVectorQuantizer', vocab_size=12, code_dim=5),
        dict(type='ResidualVQ', num_codes=4, code_dim=5),
        dict(type='FSQ', levels=(5, 3)),
        dict(type='LFQ', bits=4),
        dict(type='BSQ', bits=4),
    ],
    ids=lambda part: part['type'],
)
def test_any_parts__from_the_config_fit_together(coder, quantizer):
    sizes = dict(width=8, num_blocks=1)
    config = dict(
        type='beit_mm.AutoencoderTokenizer',
        encoder=dict(type=f'beit_mm.{coder}Encoder', **sizes),
        quantizer=dict(quantizer, type=f'beit_mm.{quantizer["type"]}'),
        decoder=dict(type=f'beit_mm.{"Conv" if coder == "DALLE" else coder}Decoder', **sizes),
        in_channels=2,
    )
    model = MODELS.build(config)
    batch = torch.rand(2, 2, 16, 24)
    model.parse_losses(model.loss(batch))[0].backward()
    assert model.encoder.get_parameter(next(iter(model.encoder.state_dict()))).grad.any()
    assert model.eval().decode(model.encode(batch)).shape == batch.shape
    assert type(model).vocab_size_of(config) == model.vocab_size


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: '-'.join(map(str, kind.values())))
def test_vocab_size_of__the_config_alone(kind):
    model = build(kind)
    assert type(model).vocab_size_of(kind) == model.vocab_size
    if 'vocab_size' not in kind:  # and the defaults
        assert type(model).vocab_size_of({}) == type(model)().vocab_size


def test_posterior__of_quantizers_that_have_one():
    assert build(KINDS[0]).has_posterior and not build(KINDS[3]).has_posterior
    with pytest.raises(ValueError, match=r'FSQTokenizer has no posterior\(\)'):
        build(KINDS[3]).posterior(images())


class LinearEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 16, 5)

    def forward(self, x):
        return self.linear(F.pixel_unshuffle(x, 4).movedim(1, -1)).movedim(-1, 1)


def test_encoder_without_convolutions__trains_from_its_own_start():
    parts = dict(
        encoder=LinearEncoder(),
        quantizer=MODELS.build(dict(type='EMAVectorQuantizer', vocab_size=8, code_dim=5)),
        decoder=dict(type='beit_mm.ConvDecoder', width=8, num_blocks=1),
    )
    tokenizer = AutoencoderTokenizer(**parts, stride=4, data_init=None)
    losses = tokenizer.loss(images())
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert tokenizer.encoder.linear.weight.grad.abs().sum() > 0
    assert AutoencoderTokenizer.vocab_size_of(parts) == 8  # of a module too
    with pytest.raises(UserError, match='LinearEncoder .* set data_init=None'):
        AutoencoderTokenizer(**parts, stride=4).loss(images())
