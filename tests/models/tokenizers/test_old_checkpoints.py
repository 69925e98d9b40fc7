"""State dicts of earlier versions load, and digests are those that they had then."""

import pytest
import torch

from beit_mm.contracts.digest import weights_sha256
from beit_mm.registry import MODELS

SIZES = dict(stride=4, width=8, num_blocks=1)
FEATURES = dict(type='beit_mm.PatchPixels', patch_size=4)
ARCH = dict(embed_dims=16, num_layers=1, num_heads=2)
DVAE = dict(SIZES, vocab_size=8, code_dim=4, logit_scale=2.0)
SMALL_DALLE = dict(vocab_size=8, width=8, num_blocks=1, code_dim=4, logit_scale=2.0)
# A tokenizer, and the names of today's tensors in its state dict of before.
CASES = [
    (dict(DVAE, type='DVAETokenizer', data_init=1.0), 'gumbel'),
    (dict(DVAE, type='PatchDVAETokenizer'), 'gumbel'),
    (dict(DVAE, type='DALLEPytorchTokenizer'), 'gumbel'),
    (dict(SMALL_DALLE, type='DALLETokenizer'), 'gumbel'),
    (dict(SIZES, type='VQVAETokenizer', vocab_size=8), 'vector'),
    (dict(SIZES, type='ResidualVQTokenizer', num_codes=4), 'residual'),
    (dict(SIZES, type='FSQTokenizer', scale=1.0), 'plain'),
    (dict(SIZES, type='LFQTokenizer', bits=4), 'plain'),
    (dict(SIZES, type='BSQTokenizer', bits=4), 'plain'),
    (dict(type='VQKDTokenizer', vocab_size=8, arch=ARCH, img_size=16, patch_size=8), 'plain'),
    (dict(type='KMeansTokenizer', vocab_size=8, features=FEATURES, stride=4), 'plain'),
    (dict(type='RandomProjectionTokenizer', vocab_size=8, features=FEATURES, stride=4), 'plain'),
]
OLD = dict(
    gumbel=[('quantizer.codebook', 'codebook'), ('quantizer.logit_norm.', 'logit_norm.')],
    vector=[('quantizer.', 'codebook.')],
    residual=[('quantizer.vq.', 'quantizer.')],
    plain=[],
)


def build(config):
    torch.manual_seed(1)
    return MODELS.build(dict(config, type=f'beit_mm.{config["type"]}'))


def old_state(model, kind) -> dict:
    """Other values than those of a new model, under the names of before."""
    torch.manual_seed(2)
    found = {}
    for name, value in model.state_dict().items():
        for new, old in OLD[kind]:
            name = old + name[len(new) :] if name.startswith(new) else name
        name = name.replace('initialized', 'initialised').replace('centers', 'centres')
        found[name] = torch.rand_like(value) if value.is_floating_point() else value
    return found


@pytest.mark.parametrize('config, kind', CASES, ids=lambda part: part and str(part)[:40])
@pytest.mark.parametrize('prefix', ['', 'tokenizer.'])
def test_old_state_dict__loads_every_tensor(config, kind, prefix):
    model = build(config)
    state = old_state(model, kind)
    owner = torch.nn.ModuleDict(dict(tokenizer=model)) if prefix else model
    owner.load_state_dict({prefix + name: value for name, value in state.items()}, strict=True)
    loaded = model.state_dict()
    assert len(loaded) == len(state)
    for new, old in zip(loaded.values(), state.values(), strict=True):
        assert torch.equal(new, old)


@pytest.mark.parametrize('config, kind', CASES, ids=lambda part: part and str(part)[:40])
def test_digest__of_the_names_of_before(config, kind):
    model = build(config)
    state = old_state(model, kind)
    model.load_state_dict(dict(state))
    assert weights_sha256(model.state_dict()) == weights_sha256(state)


@pytest.mark.parametrize('trained_with', [None, 1.0])
def test_data_init__whatever_the_checkpoint_was_trained_with(trained_with):
    """What is loaded is not standardized again, and no tensor is left over."""
    config = dict(DVAE, type='DVAETokenizer')
    state = build(dict(config, data_init=trained_with)).state_dict()
    if trained_with:
        state['initialized'] = torch.tensor(True)
    for data_init in (None, 3.0):
        model = build(dict(config, data_init=data_init))
        model.load_state_dict(dict(state), strict=True)
        assert data_init is None or model.initialized
