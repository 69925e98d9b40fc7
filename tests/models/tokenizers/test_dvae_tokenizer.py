import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper

from beit_mm.contracts import Tokenizer
from beit_mm.models import DVAETokenizer
from beit_mm.models.quantizers.gumbel_quantizer import kl_to_uniform
from beit_mm.registry import MODELS


def tokenizer(**kwargs) -> DVAETokenizer:
    settings = dict(vocab_size=16, stride=4, width=8, num_blocks=1, code_dim=6)
    return DVAETokenizer(**dict(settings, **kwargs))


def logits(model, images):
    """(B, V, h, w)."""
    return model.quantizer.logits(model.vectors(images)).permute(0, 3, 1, 2)


def reset(model):
    model.quantizer.start_step(model.quantized_rows())


class Recorder(torch.nn.Module):
    """A decoder that keeps the codes (B, h, w, D) which it is given."""

    def forward(self, codes):
        self.codes = codes.permute(0, 2, 3, 1)
        return codes


class MeanSquare(torch.nn.Module):
    def forward(self, maps, images):
        return maps.square().mean()


@pytest.mark.parametrize(
    'stride, channels, height, width', [(2, 1, 8, 8), (4, 3, 8, 20), (8, 5, 24, 16)]
)
def test_encode_decode__shapes_and_range(stride, channels, height, width):
    model = tokenizer(stride=stride, in_channels=channels).eval()
    ids = model.encode(torch.rand(2, channels, height, width))
    assert ids.shape == (2, height // stride, width // stride)
    assert ids.dtype == torch.long and ids.min() >= 0 and ids.max() < 16
    assert model.decode(ids).shape == (2, channels, height, width)


def test_encode__is_the_argmax_of_the_posterior():
    model = tokenizer().eval()
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(model.encode(images), logits(model, images).argmax(1))


def test_encode__refuses_other_sizes_and_channels():
    with pytest.raises(ValueError, match=r'stride=4 does not divide the images of 10 x 8'):
        tokenizer().encode(torch.rand(1, 3, 10, 8))
    with pytest.raises(ValueError, match=r'in_channels=3, but the images have 4 channels'):
        tokenizer().encode(torch.rand(1, 4, 8, 8))


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(stride=6), 'stride=6: expected a power of two'),
        (dict(recon_loss='cosine'), "recon_loss='cosine': expected one of"),
        (dict(vocab_size=1), 'vocab_size=1: expected an integer >= 2'),
        (dict(vocab_size=8.5), 'vocab_size=8.5: expected an integer'),
        (dict(kl_weight=-1e-4), 'GumbelQuantizer.kl_weight=-0.0001: expected 0 or more'),
        (dict(kl_weight=math.nan), 'kl_weight=nan: expected 0 or more'),
        (dict(usage_weight=-1), 'usage_weight=-1: expected 0 or more'),
        (dict(width=0), 'width=0: expected an integer >= 1'),
        (dict(code_dim=-6), 'code_dim=-6: expected an integer >= 1'),
    ],
)
def test_arguments__named_in_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        tokenizer(**wrong)


def test_kl__closed_form():
    log_p = torch.randn(3, 5, 7, 11).log_softmax(-1)
    uniform = torch.full_like(log_p, 1 / 11)
    expected = F.kl_div(uniform.log(), log_p, log_target=True, reduction='none').sum(-1).mean()
    torch.testing.assert_close(kl_to_uniform(log_p), expected)
    one_hot = F.one_hot(torch.tensor([3]), 11).float().clamp(min=1e-30).log()
    assert kl_to_uniform(one_hot).item() == pytest.approx(math.log(11), rel=1e-6)
    assert kl_to_uniform(uniform.log()).item() == pytest.approx(0, abs=1e-6)


def test_loss__kl_does_not_depend_on_batch_or_image_size():
    model = tokenizer(kl_weight=1.0)
    # A constant image away from the border gives the same logits at all positions; padding breaks
    # that, so the encoder is replaced by one that sees each patch alone.
    model.encoder = torch.nn.Conv2d(3, 16, 4, stride=4)
    small = torch.rand(1, 3, 4, 4)
    big = small.repeat(6, 1, 3, 5)
    losses = [model.loss(images) for images in (small, big)]
    torch.testing.assert_close(losses[0]['loss_kl'], losses[1]['loss_kl'])
    torch.testing.assert_close(losses[0]['loss_kl'], losses[0]['kl'])
    assert losses[0]['kl'] > 1e-3


def test_loss__straight_through_shows_one_hot_samples_to_the_decoder():
    seen = {}
    for relaxation in ('soft', 'straight_through'):
        model = tokenizer(relaxation=relaxation, temperature=1.0)
        model.quantizer.codebook = torch.nn.Parameter(torch.eye(16))
        model.decoder, model.recon_loss = Recorder(), MeanSquare()
        model.loss(torch.rand(2, 3, 8, 8))
        seen[relaxation] = model.decoder.codes
    hard, soft = seen['straight_through'], seen['soft']
    assert torch.equal(hard.detach().max(-1).values, torch.ones(2, 2, 2))
    assert soft.max() < 0.999
    torch.testing.assert_close(soft.sum(-1), torch.ones(2, 2, 2))


@pytest.mark.parametrize('relaxation', ['soft', 'straight_through'])
@pytest.mark.parametrize('logit_scale', [None, 3.0])
def test_loss__every_parameter_has_a_gradient(relaxation, logit_scale):
    model = tokenizer(relaxation=relaxation, logit_scale=logit_scale, kl_weight=0.1)
    losses = model.loss(torch.rand(4, 3, 16, 16))
    model.parse_losses(losses)[0].backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # The last bias shifts all logits of a code alike: that is what the standardization removes.
    assert [n for n in without if 'encoder' not in n or logit_scale is None] == []
    assert all(name.endswith('bias') for name in without)


def test_loss__only_the_losses_are_summed():
    losses = tokenizer(kl_weight=0.5, usage_weight=0.1).loss(torch.rand(2, 3, 8, 8))
    total, _ = Tokenizer.parse_losses(DVAETokenizer(**SMALL), losses)
    expected = losses['loss_recon'] + losses['loss_kl'] + losses['loss_usage']
    torch.testing.assert_close(total, expected)


SMALL = dict(vocab_size=16, stride=4, width=8, num_blocks=1, code_dim=6)


def test_loss__usage_term_is_zero_when_the_batch_uses_all_codes():
    model = tokenizer(usage_weight=1.0)
    model.encoder = torch.nn.Conv2d(3, 16, 4, stride=4)
    with torch.no_grad():
        model.encoder.weight.zero_()
        model.encoder.bias.zero_()
        assert model.loss(torch.rand(2, 3, 8, 8))['loss_usage'].item() == pytest.approx(0, abs=1e-6)
        model.encoder.bias[3] = 100.0
        collapsed = model.loss(torch.rand(2, 3, 8, 8))['loss_usage'].item()
    assert collapsed == pytest.approx(math.log(16), rel=1e-4)


def test_loss__refuses_a_temperature_of_zero():
    model = tokenizer()
    model.quantizer.temperature = 0.0
    with pytest.raises(ValueError, match='temperature=0.0: expected a positive number'):
        model.loss(torch.rand(1, 3, 8, 8))


def test_training_one_batch__reconstructs_it():
    images = torch.rand(1, 3, 1, 1) * torch.ones(8, 3, 8, 8)
    images[:, :, :4] = torch.rand(8, 3, 1, 1)
    model = tokenizer(logit_scale=3.0, relaxation='straight_through', vocab_size=32)
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=5e-3))
    first = None
    for _ in range(200):
        losses = model.loss(images)
        first = first or losses['loss_recon'].item()
        wrapper.update_params(losses['loss_recon'])
    assert losses['loss_recon'].item() < 0.2 * first


def test_logits__stay_float32_under_autocast():
    with torch.autocast('cpu', torch.bfloat16):
        assert logits(tokenizer(), torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_predict__returns_the_reconstruction_of_the_ids():
    model = tokenizer().eval()
    images = torch.rand(2, 3, 8, 8)
    samples = model.predict(images)
    for image, sample in zip(images, samples, strict=True):
        assert torch.equal(sample['image'], image)
        assert torch.equal(sample['ids'], model.encode(image[None])[0])
        recon = model.decode(sample['ids'][None])[0].clamp(0, 1)
        torch.testing.assert_close(sample['recon'], recon)


def test_plugin_from_outside__fifteen_lines():
    @MODELS.register_module(name='OwnTokenizer', force=True)
    class OwnTokenizer(Tokenizer):
        def encode(self, images):
            self.check_divisible(images)
            bright = F.avg_pool2d(images.mean(1, keepdim=True), self.stride)[:, 0]
            return (bright * self.vocab_size).long().clamp(max=self.vocab_size - 1)

    built = MODELS.build(dict(type='OwnTokenizer', vocab_size=4, stride=8))
    ids = built.encode(torch.linspace(0, 1, 2).view(2, 1, 1, 1).expand(2, 3, 16, 8))
    assert ids.tolist() == [[[0], [0]], [[3], [3]]]
    assert not built.can_decode
    with pytest.raises(ValueError, match='OwnTokenizer has no decode'):
        built.decode(ids)
    with pytest.raises(ValueError, match='OwnTokenizer has no loss'):
        built.loss(torch.rand(1, 3, 8, 8))
    MODELS.module_dict.pop('OwnTokenizer')


@pytest.mark.parametrize('relaxation', ['soft', 'straight_through', 'reinmax'])
@pytest.mark.parametrize('loss', ['MSEReconLoss', 'LogitLaplaceReconLoss'])
def test_loss__of_each_relaxation_and_recon_loss(relaxation, loss):
    model = tokenizer(relaxation=relaxation, recon_loss=dict(type=f'beit_mm.{loss}'))
    losses = model.loss(torch.rand(2, 3, 8, 8))
    model.parse_losses(losses)[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in (model.quantizer.codebook, model.last_conv().weight))
    images = model.decode(model.encode(torch.rand(2, 3, 8, 8)))
    assert images.shape == (2, 3, 8, 8)


def test_recon_loss__a_short_name_is_the_plugin():
    image, maps = torch.rand(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    short, long = (
        tokenizer(recon_loss=loss).recon_loss(maps, image)
        for loss in ('l1', dict(type='beit_mm.L1ReconLoss'))
    )
    assert short == long == F.l1_loss((maps + 1) / 2, image)


def test_state_dict__options_add_nothing_but_their_own():
    plain = tokenizer().state_dict()
    assert tokenizer(
        relaxation='reinmax', reset_dead_codes=dict(), usage_target=0.5
    ).state_dict().keys() == (plain.keys())
    later = tokenizer(data_init=3.0)
    assert later.load_state_dict(plain).missing_keys == []
    assert later.initialized  # what was trained is not started again


def test_data_init__first_batch_has_the_asked_spread_and_argmax_stays_spread():
    model = tokenizer(data_init=3.0, kl_weight=0.1)
    images = torch.rand(8, 3, 16, 16)
    model.recon_loss = MeanSquare()
    model.loss(images)
    found = logits(model, images)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(16), atol=1e-4, rtol=0)
    spread = found.std((0, 2, 3), correction=0)
    torch.testing.assert_close(spread, torch.full((16,), 3.0), atol=1e-3, rtol=0)
    weight = model.last_conv().weight.clone()
    model.loss(torch.rand(8, 3, 16, 16))
    assert torch.equal(weight, model.last_conv().weight)


def test_usage_target__zero_once_the_entropy_is_enough():
    images = torch.rand(2, 3, 8, 8)  # 8 positions, fewer than codes
    model = tokenizer(usage_weight=1.0, usage_target=0.9)
    assert model.loss(images)['loss_usage'] == 0
    with torch.no_grad():
        model.last_conv().weight.zero_()
        model.last_conv().bias.zero_()[3] = 100.0
    collapsed = model.loss(images)['loss_usage'].item()
    assert collapsed == pytest.approx(0.9 * math.log(8), rel=1e-4)


@pytest.mark.parametrize('logit_scale', [None, 3.0])
def test_reset_dead_codes__dead_codes_copy_living_ones_and_living_ones_stay(logit_scale):
    model = tokenizer(reset_dead_codes=dict(interval=2, min_tokens=1), logit_scale=logit_scale)
    last = model.last_conv()
    before = last.weight.detach().clone(), model.quantizer.codebook.detach().clone()
    model.quantizer.dead_code_reset.counts[0] = torch.tensor([90, 10] + 14 * [0])
    reset(model)  # the next step
    assert (
        model.quantizer.dead_code_reset.step == 0
        and model.quantizer.dead_code_reset.counts.sum() == 100
    )
    model.quantizer.dead_code_reset.step = 1
    reset(model)
    for old, new in zip(before, (last.weight, model.quantizer.codebook), strict=True):
        assert torch.equal(old[:2], new[:2])
        for row in new[2:]:
            nearest = (old[:2] - row).flatten(1).norm(dim=1).min()
            assert 0 < nearest < 0.1 * old.flatten(1).norm(dim=1).mean()
    assert model.quantizer.dead_code_reset.judged().sum() == 0


@pytest.mark.parametrize('logit_scale', [None, 3.0])
def test_reset_dead_codes__a_copy_has_the_logits_of_its_source_in_evaluation(logit_scale):
    """Its bias and its running statistics are copied with the weight."""
    model = tokenizer(reset_dead_codes=dict(interval=1, min_tokens=1), logit_scale=logit_scale)
    with torch.no_grad():
        model.last_conv().bias.normal_(0, 5)
        if logit_scale is not None:
            model.quantizer.logit_norm.running_mean.normal_(0, 5)
            model.quantizer.logit_norm.running_var.uniform_(0.1, 10)
    model.quantizer.dead_code_reset.counts[0] = torch.tensor([90, 10] + 14 * [0])
    reset(model)
    found = logits(model.eval(), torch.rand(2, 3, 8, 8)).transpose(0, 1).flatten(1)  # (16, 8)
    nearest = torch.cdist(found[2:], found[:2]).min(1).values
    assert nearest.max() < 0.1 * (found[0] - found[1]).norm()


@pytest.mark.parametrize('training', [True, False])
def test_reset_dead_codes__is_a_part_of_the_training_step_alone(training):
    model = tokenizer(reset_dead_codes=dict(interval=2, min_tokens=1)).train(training)
    with torch.no_grad():
        model.last_conv().bias[3] = 100.0  # the only code in use
    images = torch.rand(4, 3, 16, 16)
    before = model.quantizer.codebook.clone()
    model.loss(images)
    assert torch.equal(model.quantizer.codebook, before)
    model.loss(images)
    assert (model.quantizer.codebook != before).any(1).sum() == (15 if training else 0)


def test_reset_dead_codes__too_few_tokens_to_tell():
    model = tokenizer(reset_dead_codes=dict(interval=1, min_tokens=10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.quantizer.dead_code_reset.counts[0] = torch.tensor([90, 10] + 14 * [0])
    reset(model)
    assert all(torch.equal(before[n], tensor) for n, tensor in model.state_dict().items())


def test_options__named_in_errors():
    with pytest.raises(ValueError, match="relaxation='hard'"):
        tokenizer(relaxation='hard')
    with pytest.raises(ValueError, match=r"reset_dead_codes has \['every'\]"):
        tokenizer(reset_dead_codes=dict(every=3))


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(data_init=0), 'data_init=0: expected a positive number, or None'),
        (dict(logit_scale=-1.0), 'logit_scale=-1.0: expected a positive number, or None'),
        (dict(usage_target=1.5), r'usage_target=1.5: expected a share in \(0, 1\]'),
        (dict(reset_dead_codes=dict(window=0)), 'window=0: expected an integer >= 1'),
    ],
)
def test_options__of_no_effect_or_the_opposite_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        tokenizer(**wrong)


def test_data_init__a_blank_first_batch_does_not_blow_the_weights_up():
    """One position, so that not even the borders differ."""
    model = tokenizer(data_init=3.0)
    before = model.last_conv().weight.clone()
    model.loss(torch.full((1, 3, 4, 4), 0.5))
    assert torch.equal(model.last_conv().weight, before)
    found = logits(model, torch.full((1, 3, 4, 4), 0.5))
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-5, rtol=0)


def test_loss__terms_and_usage_are_those_of_the_posterior_whatever_the_temperature():
    """Closed forms: KL to the uniform prior, entropy of the mean posterior, argmax tokens."""
    model = tokenizer(temperature=0.2, kl_weight=2.0, usage_weight=0.5, data_init=1.0)
    images = torch.rand(4, 3, 16, 16)
    losses = model.loss(images)
    p = logits(model, images).permute(0, 2, 3, 1).softmax(-1).flatten(0, 2)  # (64, 16)
    torch.testing.assert_close(losses['loss_kl'], 2.0 * (p * (16 * p).log()).sum(1).mean())
    mean = p.mean(0)
    missing = math.log(16) + (mean * mean.log()).sum()
    assert missing > 1e-3
    torch.testing.assert_close(losses['loss_usage'], 0.5 * missing)
    torch.testing.assert_close(model.posterior(images).flatten(0, 2), p)
    assert torch.equal(model.latest_ids.flatten(), p.argmax(1))


def test_temperature__sharpens_what_the_decoder_sees():
    sharpness = {}
    for temperature in (0.01, 1.0, 100.0):
        model = tokenizer(temperature=temperature)
        model.quantizer.codebook = torch.nn.Parameter(torch.eye(16))
        model.decoder, model.recon_loss = Recorder(), MeanSquare()
        model.loss(torch.rand(4, 3, 16, 16))
        sharpness[temperature] = model.decoder.codes.max(-1).values.mean().item()
    assert sharpness[0.01] > 0.98 and 0.2 < sharpness[1.0] < 0.8 and sharpness[100.0] < 0.08


def test_reset_dead_codes__living_codes_are_copied_by_their_use():
    model = tokenizer(vocab_size=200, reset_dead_codes=dict(interval=1, min_tokens=0.1))
    model.quantizer.dead_code_reset.counts[0, :3] = torch.tensor([300, 100, 0])
    before = model.quantizer.codebook.detach().clone()
    reset(model)
    sources = torch.cdist(model.quantizer.codebook[2:], before[:2]).argmin(1)
    assert 0.65 < (sources == 0).float().mean() < 0.85  # three quarters
