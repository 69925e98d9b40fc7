"""A checkpoint of every shipped config says how to build its model, with known classes alone."""

import checkpoints_of_models as made
import numpy as np
import pytest
from mmengine.config import Config
from shipped_configs import LEAVES, loaded, options_of

from beit_mm import load_model
from beit_mm.cli.config_options import merge_options

pytestmark = pytest.mark.slow

VERBS = dict(tokenizer='tokenize', pretrain='reconstruct', classification='classify')


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.stem)
def test_config__is_answered_from_its_checkpoint(leaf, tmp_path):
    config = Config(loaded(leaf).to_dict())
    merge_options(config, options_of(config, tmp_path))
    config.test_dataloader = config.get('val_dataloader')  # which is cut down
    module = made.saved(config, tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth')
    expected, found = module.state_dict(), model.module.state_dict()
    missing = set(expected) - set(found)
    assert all(name.split('.')[0] in ('decoder', 'decode_task_layer') for name in missing)
    assert all((found[name] == expected[name]).all() for name in found)
    assert model.description['preprocessing']['pipeline'][0]['type']
    channels = model.in_channels or 3
    image = np.random.default_rng(0).integers(0, 255, (304, 320, channels), dtype=np.uint8)
    if model.value_range[1] > 255:
        image = image.astype(np.uint16) * 257
    verb = VERBS.get(leaf.parts[0], 'segment')
    if leaf.stem.startswith('mim-pixels'):
        verb = 'embed'  # continuous targets
    assert len(getattr(model, verb)(image)) == 1
