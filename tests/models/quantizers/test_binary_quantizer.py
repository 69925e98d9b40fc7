import pytest
import torch
from vector_quantize_pytorch import LFQ

from beit_mm.models.quantizers.binary_quantizer import binary_code_entropies


def by_all_codes(logits):
    """The definition: a softmax over 2 ** bits codes at each position."""
    bits = logits.shape[1]
    codes = 2 * (torch.arange(2**bits)[:, None] >> torch.arange(bits) & 1) - 1.0
    probabilities = (logits / 2 @ codes.T.to(logits)).softmax(1)
    entropy = torch.special.entr
    return entropy(probabilities).sum(1).mean(), entropy(probabilities.mean(0)).sum()


@pytest.mark.parametrize('bits', [1, 2, 5, 8])
def test_equals_the_softmax_over_all_codes_and_its_gradient(bits):
    logits = torch.randn(30, bits, dtype=torch.float64, requires_grad=True)
    for mine, reference in zip(binary_code_entropies(logits), by_all_codes(logits), strict=True):
        torch.testing.assert_close(mine, reference)
        gradients = [torch.autograd.grad(x, logits, retain_graph=True) for x in (mine, reference)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('spherical', [False, True])
def test_equals_vector_quantize_pytorch(spherical):
    """Whose logarithm ends at 1e-5: the temperature keeps all codes above that."""
    z = torch.randn(1, 20, 4, requires_grad=True)
    library = LFQ(dim=4, spherical=spherical, entropy_loss_weight=1.0, diversity_gamma=0.0)
    numbers = library.maybe_l2norm(z)[0]
    magnitude = 0.5 if spherical else 1.0  # 1 / sqrt(4)
    for diversity in (0.0, 0.7):
        library.diversity_gamma = diversity
        reference = library(z, inv_temperature=0.5).entropy_aux_loss
        position, batch = binary_code_entropies(4 * magnitude * numbers * 0.5)
        mine = position - diversity * batch
        torch.testing.assert_close(mine, reference)
        gradients = [torch.autograd.grad(x, z, retain_graph=True) for x in (mine, reference)]
        torch.testing.assert_close(*gradients)


def test_numbers_far_from_0_are_sure_of_their_codes():
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    logits = (1e4 * corners).requires_grad_()
    position, batch = binary_code_entropies(logits)
    assert position.item() == 0
    assert batch.item() == pytest.approx(torch.tensor(4.0).log().item())
    (position - batch).backward()
    assert torch.isfinite(logits.grad).all()
