"""compile_blocks: one graph for all blocks, made once, with the outputs and gradients of eager."""

import copy
import pickle

import pytest
import torch
from torch._dynamo.utils import counters

from beit_mm.models.backbones import BEiTEncoder

pytestmark = pytest.mark.slow
ARCH = dict(embed_dims=32, num_layers=10, num_heads=2)  # more layers than a function has graphs


def step(model, x, mask):
    torch.manual_seed(0)
    outputs = model(x, mask)[0]
    outputs.square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return outputs.detach(), gradients


@pytest.mark.parametrize('rel_pos', ['shared', 'per_layer', None])
def test_training__one_graph_and_the_same_numbers(rel_pos):
    torch._dynamo.reset()
    counters.clear()
    options = dict(arch=ARCH, img_size=32, patch_size=8, rel_pos=rel_pos, drop_path_rate=0.5)
    plain = BEiTEncoder(**options)
    compiled = BEiTEncoder(**options, compile_blocks=True)
    compiled.load_state_dict(plain.state_dict())
    x, mask = torch.randn(4, 3, 32, 32), torch.rand(4, 4, 4) < 0.4
    expected, gradients = step(plain, x, mask)
    for _ in range(3):
        found, others = step(compiled, x, mask)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert others.keys() == gradients.keys()
        for name in gradients:
            torch.testing.assert_close(others[name], gradients[name], rtol=1e-3, atol=1e-6)
    assert counters['stats']['unique_graphs'] == 2  # the first block drops nothing
    assert not counters['graph_break'] and not counters['unimplemented']
    if rel_pos is None:  # what the compiling does to copies does not depend on it
        compiled.eval(), plain.eval()
        for other in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
            with torch.no_grad():
                for parameter in other.blocks.parameters():
                    parameter.zero_()
                assert not torch.equal(other(x)[0], compiled(x)[0])
