import pytest
import torch

from benchmarks.peers.comparison import CLASSES, VOCAB, Size, allocate, randomize
from benchmarks.training_step import classification, inference, measure, pretraining, table

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
    assert found['saved'] == {} and set(found['seconds']) == {
        'ours',
        'mmpretrain',
        'transformers',
        'timm',
    }
    row = dict(case='a', dtype='bf16', seconds=dict(ours=0.5, mmpretrain=1.0, timm=0.4))
    assert table([row]).splitlines()[-1] == '| a, bf16, ms | 500 |  | 1,000 |  | 400 | 1.25 |  |'
