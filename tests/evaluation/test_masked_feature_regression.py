import numpy as np
import pytest
import torch
from mmengine.registry import METRICS
from sklearn.metrics import r2_score

import beit_mm.evaluation  # noqa: F401


def metric():
    return METRICS.build(dict(type='beit_mm.MaskedFeatureRegression'))


def evaluated(samples, batch=4):
    own = metric()
    for start in range(0, len(samples), batch):
        own.process({}, samples[start : start + batch])
    return own.evaluate(size=len(samples))


def samples(error=0.3, offset=5.0):
    rng = np.random.default_rng(0)
    for masked in (4, 0, 7, 1, 3):
        target = offset + rng.normal(size=(masked, 6)) * np.arange(1, 7)
        pred = target + error * rng.normal(size=(masked, 6))
        parts = dict(pred=pred, target=target, loss=np.abs(pred - target).mean(1))
        yield {name: torch.from_numpy(value) for name, value in parts.items()}


@pytest.mark.parametrize('batch', [1, 2, 5])
def test_against_scikit_learn__however_the_images_fall_into_batches(batch):
    own = list(samples())
    pred, target, loss = (torch.cat([s[key] for s in own]) for key in ('pred', 'target', 'loss'))
    got = evaluated(own, batch)
    assert got == {
        'mim/loss': pytest.approx(loss.mean().item()),
        'mim/mse': pytest.approx((pred - target).square().mean().item()),
        'mim/variance': pytest.approx(target.var(0, correction=0).mean().item()),
        'mim/explained_variance': pytest.approx(
            r2_score(target, pred, multioutput='variance_weighted')
        ),
    }


def test_constant_prediction__explains_nothing_and_a_perfect_one_everything():
    own = list(samples())
    mean = torch.cat([s['target'] for s in own]).mean(0)
    constant = [dict(s, pred=mean.expand_as(s['target'])) for s in own]
    assert evaluated(constant)['mim/explained_variance'] == pytest.approx(0)
    perfect = [dict(s, pred=s['target']) for s in own]
    assert evaluated(perfect)['mim/explained_variance'] == 1


def test_samples_that_pad_a_distributed_run_do_not_count():
    own, alone = metric(), list(samples())
    own.process({}, [*alone, alone[0]])
    assert own.evaluate(size=5) == evaluated(alone)


def test_targets_that_are_all_alike_are_finite():
    one = dict(pred=torch.ones(2, 3), target=torch.zeros(2, 3), loss=torch.ones(2))
    assert evaluated([one])['mim/explained_variance'] == 0


def test_nothing_masked_at_all__says_where_to_look():
    none = dict(pred=torch.ones(0, 3), target=torch.zeros(0, 3), loss=torch.ones(0))
    with pytest.raises(ValueError, match='no patch is masked.*val_dataloader'):
        evaluated([none])
