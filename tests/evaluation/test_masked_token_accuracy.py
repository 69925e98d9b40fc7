import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

from beit_mm.evaluation import masked_token_accuracy


def metric():
    return METRICS.build(dict(type='beit_mm.MaskedTokenAccuracy'))


def sample(pred, target, loss):
    return dict(
        pred_ids=torch.tensor(pred, dtype=torch.long),
        target_ids=torch.tensor(target, dtype=torch.long),
        loss=torch.tensor(loss),
        mask=torch.zeros(2, 2, dtype=torch.bool),
    )


def test_by_hand__images_with_different_numbers_of_masked_patches(monkeypatch):
    own, told = metric(), []
    monkeypatch.setattr(
        masked_token_accuracy, 'print_log', lambda text, **kwargs: told.append(text)
    )
    own.process({}, [sample([3, 3, 5], [3, 1, 1], [1.0, 2.0, 3.0]), sample([], [], [])])
    own.process({}, [sample([7], [3], [4.0])])
    got = own.evaluate(size=3)
    # 4 patches, of which one is right; the targets are 3, 1, 1, 3
    assert got == {
        'mim/accuracy': 25.0,
        'mim/loss': 2.5,
        'mim/unigram_entropy': pytest.approx(math.log(2)),
        'mim/gain_over_unigram': pytest.approx(1 - 2.5 / math.log(2)),
        'mim/majority': 50.0,
        'mim/target_codes': 2,
        'mim/target_perplexity': pytest.approx(2.0),
    }
    assert told == ['Commonest targets of the whole data set: 1 (50.0%), 3 (50.0%)']


def test_against_numpy__however_the_images_fall_into_batches():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 23)
    pred, target = (rng.zipf(1.7, counts.sum()) % 16 for _ in range(2))
    loss = rng.random(counts.sum()).astype(np.float32)
    edges = np.cumsum(counts)[:-1]
    parts = zip(*(np.split(values, edges) for values in (pred, target, loss)), strict=True)
    samples = [sample(p.tolist(), t.tolist(), x.tolist()) for p, t, x in parts]
    share = np.bincount(target) / len(target)
    entropy = -sum(p * math.log(p) for p in share if p)
    expected = dict(
        accuracy=100 * np.mean(pred == target),
        loss=loss.astype(float).mean(),
        unigram_entropy=entropy,
        gain_over_unigram=1 - loss.astype(float).mean() / entropy,
        majority=100 * share.max(),
        target_codes=len(set(target)),
        target_perplexity=math.exp(entropy),
    )
    for batch in (1, 5, 23):
        own = metric()
        for start in range(0, 23, batch):
            own.process({}, samples[start : start + batch])
        got = own.evaluate(size=23)
        assert got == {f'mim/{k}': pytest.approx(v, rel=1e-9) for k, v in expected.items()}


def test_samples_that_pad_a_distributed_run_do_not_count():
    """Two processes share 3 images, the second takes the first one again."""
    own = metric()
    images = [sample([1], [1], [1.0]), sample([1], [2], [2.0]), sample([1], [4], [3.0])]
    own.process({}, images)
    alone = own.evaluate(size=3)
    own.process({}, [*images, images[0]])  # in the order in which MMEngine collects them
    assert own.evaluate(size=3) == alone
    assert alone['mim/accuracy'] == pytest.approx(100 / 3)


def test_nothing_masked_at_all__says_where_to_look():
    own = metric()
    own.process({}, [sample([], [], [])])
    with pytest.raises(ValueError, match='no patch is masked.*val_dataloader'):
        own.evaluate(size=1)
