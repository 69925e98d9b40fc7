import pytest
import torch

from benchmarks.peers.comparison import CLASSES, VOCAB, Size, allocate, randomize
from benchmarks.peers.products import Products
from benchmarks.training_step import classification, inference, measure, pretraining, table

pytestmark = pytest.mark.slow

TINY = Size('tiny', 32, 2, 2, 32, 16, 1, (1,))


@pytest.mark.parametrize('make', [lambda: pretraining(TINY, 3), lambda: classification(TINY, 3)])
def test_models__see_the_same_task(make):
    case = make()
    x, mask = torch.randn(3, 3, 32, 32), torch.arange(12).view(3, 2, 2) % 3 == 0
    masked = case.name == 'pre-training step'
    for name, model in case.models.items():
        found = case.run(name, randomize(allocate(model)), x, mask)
        assert found.shape == ((4, VOCAB) if masked else (3, CLASSES)), name
        assert found.isfinite().all()


def test_table__has_the_ratio_to_the_fastest_other():
    case = inference(TINY)
    found = measure(case, torch.bfloat16, 1, 'cpu')
    assert found['saved'] == {}
    assert set(found['seconds']) == {'ours', 'mmpretrain', 'transformers', 'timm', 'products'}
    seconds = dict(ours=0.5, mmpretrain=1.0, timm=0.4, products=0.3)
    row = dict(case='a', dtype='bf16', seconds=seconds, saved={}, mfu=0.456)
    expected = '| a, bf16, ms | 500 |  | 1,000 |  | 400 | 300 | 1.25 |  | 0.60 | 46% |'
    assert table([row]).splitlines()[-1] == expected


def test_products__are_those_of_forward_and_backward():
    layer, x = torch.nn.Linear(6, 5, bias=False), torch.randn(4, 6, requires_grad=True)
    with Products() as products:
        layer(x).relu().sum().backward()
    assert products.flops == 3 * 2 * 4 * 5 * 6
    assert len(products.calls) == 3
    shapes = [call().shape for call in products.calls]
    assert sorted(map(tuple, shapes)) == [(4, 5), (4, 6), (5, 6)]
    products.run()
