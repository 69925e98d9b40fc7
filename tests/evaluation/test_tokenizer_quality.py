import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

import beit_mm.evaluation  # noqa: F401


def metric(vocab_size=8):
    return METRICS.build(dict(type='beit_mm.TokenizerQuality', vocab_size=vocab_size))


def test_by_hand():
    own = metric()
    image = torch.zeros(1, 2, 2)
    # One window of one pixel: no structure, luminance against black.
    dark = [1e-4 / (value**2 + 1e-4) for value in (0.0, 0.1, 0.2, 0.3)]
    recon = torch.tensor([[[0.0, 0.1], [0.2, 0.3]]])
    own.process({}, [dict(ids=torch.tensor([[0, 0], [3, 3]]), image=image, recon=recon)])
    own.process({}, [dict(ids=torch.tensor([[5, 5], [7, 7]]), image=image, recon=image)])
    assert own.evaluate(size=2) == {
        'tokenizer/codes_used': 4,
        'tokenizer/codes_used_percent': 50.0,
        'tokenizer/dead_codes': 4,
        'tokenizer/entropy': pytest.approx(math.log(4)),
        'tokenizer/perplexity': pytest.approx(4.0),
        'tokenizer/ssim': pytest.approx((sum(dark) / 4 + 1) / 2),
        'tokenizer/psnr': pytest.approx(-10 * math.log10(0.14 / 8), rel=1e-6),
        'tokenizer/l1': pytest.approx(0.6 / 8, rel=1e-6),
    }


def test_against_numpy__images_of_two_sizes_in_batches():
    rng = np.random.default_rng(0)
    samples, ids, errors, pixels = [], [], [], []
    for number in range(11):
        side = 4 + 4 * (number % 2)
        grid = rng.zipf(1.5, (side // 2, side // 2)) % 30
        image, recon = (rng.random((3, side, side)).astype(np.float32) for _ in range(2))
        tensors = (torch.from_numpy(a) for a in (grid, image, recon))
        samples.append(dict(zip(('ids', 'image', 'recon'), tensors, strict=True)))
        ids.append(grid.ravel())
        errors.append((recon.astype(float) - image.astype(float)).ravel())
        pixels.append(image.astype(float).reshape(3, -1))
    ids, errors = np.concatenate(ids), np.concatenate(errors)
    pixels = np.concatenate(pixels, 1)  # (C, pixels of all images)
    variance = ((pixels - pixels.mean(1, keepdims=True)) ** 2).mean()
    share = np.bincount(ids) / len(ids)
    expected = dict(
        codes_used=len(set(ids)),
        codes_used_percent=100 * len(set(ids)) / 32,
        dead_codes=32 - len(set(ids)),
        entropy=-sum(p * math.log(p) for p in share if p),
        perplexity=math.exp(-sum(p * math.log(p) for p in share if p)),
        psnr=-10 * math.log10((errors**2).mean()),
        explained_variance=1 - (errors**2).mean() / variance,
        l1=np.abs(errors).mean(),
    )
    for batch in (1, 4, 11):
        own = metric(32)
        for start in range(0, 11, batch):
            own.process({}, samples[start : start + batch])
        got = own.evaluate(size=11)
        assert 0 < got.pop('tokenizer/ssim') < 1
        assert got == {f'tokenizer/{k}': pytest.approx(v, rel=1e-6) for k, v in expected.items()}


def test_one_color_everywhere__explains_nothing():
    own, rng = metric(), torch.Generator().manual_seed(0)
    images = [torch.rand(3, 4, 4, generator=rng) * torch.tensor([1, 2, 3])[:, None, None] / 3]
    images.append(images[0].flip(2).contiguous())
    mean = torch.stack(images).mean((0, 2, 3), keepdim=True)[0].expand(3, 4, 4)
    for image in images:
        own.process({}, [dict(ids=torch.tensor([[1]]), image=image, recon=mean)])
    assert own.evaluate(size=2)['tokenizer/explained_variance'] == pytest.approx(0, abs=1e-5)


def test_samples_that_pad_a_distributed_run_do_not_count():
    images = [dict(ids=torch.tensor([[code]])) for code in (0, 1, 1)]
    own = metric()
    own.process({}, images)
    alone = own.evaluate(size=3)
    own.process({}, [*images, images[0]])
    assert own.evaluate(size=3) == alone
    assert alone['tokenizer/perplexity'] == pytest.approx(3 / 2 ** (2 / 3))


def test_a_tokenizer_without_decoder_has_no_psnr():
    own = metric()
    own.process({}, [dict(ids=torch.tensor([[1]]), image=torch.zeros(1, 1, 1))])
    assert set(own.evaluate(size=1)) == {
        'tokenizer/codes_used',
        'tokenizer/codes_used_percent',
        'tokenizer/dead_codes',
        'tokenizer/entropy',
        'tokenizer/perplexity',
    }


def test_a_perfect_reconstruction_is_finite():
    own = metric()
    image = torch.ones(3, 2, 2)
    own.process({}, [dict(ids=torch.tensor([[1]]), image=image, recon=image)])
    assert own.evaluate(size=1)['tokenizer/psnr'] == pytest.approx(120)


def test_a_token_outside_of_the_vocabulary__names_the_key():
    own = metric(8)
    own.process({}, [dict(ids=torch.tensor([[8]]))])
    with pytest.raises(ValueError, match='TokenizerQuality.vocab_size=8.*token 8'):
        own.evaluate(size=1)
