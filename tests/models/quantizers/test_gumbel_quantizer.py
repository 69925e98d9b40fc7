import pytest
import torch
import torch.nn.functional as F

from beit_mm.models.quantizers.gumbel_quantizer import RELAXATIONS, reinmax_of

LOGITS = torch.tensor([0.3, -1.1, 0.9, 0.0], dtype=torch.float64)


def quadratic(x):
    matrix = torch.tensor(
        [[1.0, 2, 0, -1], [0, -2, 1, 0], [3, 0, 1, 1], [0, 1, -1, 2]], dtype=torch.float64
    )
    return x @ matrix @ x + x @ torch.tensor([0.5, -1, 2, 0.1], dtype=torch.float64)


def smooth():
    """A decoder of one layer and its squared error, not far from linear.

    ReinMax's error is that of the third derivatives: it is not always the smaller one.
    """
    weight, target = 0.2 * torch.randn(6, 4).double(), torch.randn(6).double()
    return lambda x: (torch.tanh(weight @ x) - target).square().mean()


def exact_gradient(f):
    """Of E[f(D)], by adding up all outcomes."""
    logits = LOGITS.clone().requires_grad_()
    outcomes = torch.stack([f(d) for d in torch.eye(4, dtype=torch.float64)])
    (logits.softmax(-1) @ outcomes).backward()
    return logits.grad


def straight_through_of(sample, logits):
    p = logits.softmax(-1)
    return sample + p - p.detach()


def expected_gradient(estimator, f):
    """Over all samples, each with its probability: no Monte Carlo error."""
    total = torch.zeros(4, dtype=torch.float64)
    for k, sample in enumerate(torch.eye(4, dtype=torch.float64)):
        logits = LOGITS.clone().requires_grad_()
        f(estimator(sample, logits)).backward()
        total += LOGITS.softmax(-1)[k] * logits.grad
    return total


def test_reinmax__exact_for_quadratic_functions():
    torch.testing.assert_close(expected_gradient(reinmax_of, quadratic), exact_gradient(quadratic))


def test_reinmax__bias_smaller_than_straight_through():
    bias = dict(reinmax=0.0, straight_through=0.0)
    for f in [smooth() for _ in range(20)]:
        for name, estimator in (('reinmax', reinmax_of), ('straight_through', straight_through_of)):
            bias[name] += (expected_gradient(estimator, f) - exact_gradient(f)).norm().item()
    assert 1e-3 < bias['reinmax'] < bias['straight_through'] / 2
    wrong = expected_gradient(straight_through_of, quadratic) - exact_gradient(quadratic)
    assert wrong.norm() > 0.1


@pytest.mark.parametrize('temperature', [1.0, 1.5])
def test_reinmax__gradient_as_algorithm_2_writes_it(temperature):
    """2 J(middle) - J(p) / 2 times the gradient of the output, J(p) = diag(p) - p p^T."""
    logits = LOGITS.clone().requires_grad_()
    sample, upstream = torch.eye(4, dtype=torch.float64)[1], torch.arange(4.0).double()
    reinmax_of(sample, logits, temperature).backward(upstream)
    p = LOGITS.softmax(-1)
    middle = (sample + (LOGITS / temperature).softmax(-1)) / 2
    jacobian = [torch.diag(q) - torch.outer(q, q) for q in (middle, p)]
    torch.testing.assert_close(logits.grad, (2 * jacobian[0] - jacobian[1] / 2) @ upstream)


@pytest.mark.parametrize('name', ['straight_through', 'reinmax'])
def test_samples__one_hot_and_drawn_from_the_softmax(name):
    logits = LOGITS.float().expand(20000, 4)
    samples = RELAXATIONS[name](logits, 1.0)
    torch.testing.assert_close(samples.max(-1).values, torch.ones(20000))
    torch.testing.assert_close(samples.mean(0), LOGITS.float().softmax(-1), atol=0.015, rtol=0)


def test_soft__nears_one_hot_as_the_temperature_falls():
    logits = torch.randn(500, 6)
    warm, cold = (RELAXATIONS['soft'](logits, t).max(-1).values.mean() for t in (2.0, 0.01))
    assert warm < 0.6 and cold > 0.98
    torch.testing.assert_close(RELAXATIONS['soft'](logits, 2.0).sum(-1), torch.ones(500))


def test_reinmax__in_half_precision_logits_stay_finite():
    logits = torch.tensor([[60.0, -60.0, 0.0]], requires_grad=True)
    reinmax_of(F.one_hot(torch.tensor([1]), 3).float(), logits).square().sum().backward()
    assert logits.grad.isfinite().all()
