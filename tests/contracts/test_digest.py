import torch
import torch.nn as nn
from mmengine.config import ConfigDict

from beit_mm.contracts.digest import module_sha256, tokens_key


def module(value=1.0, dtype=torch.float32, kind=nn.BatchNorm1d):
    made = kind(2).to(dtype)
    made.running_mean.fill_(value)
    return made


def test_module__config_class_and_each_value():
    config = dict(type='A', size=(2, 3), deep=dict(x=1, y=None))
    digest = module_sha256(module(), config)
    assert digest == module_sha256(module(), config) and len(digest) == 64
    others = [
        module_sha256(module(value=1 + 1e-7), config),
        module_sha256(module(dtype=torch.float64), config),
        module_sha256(module(kind=nn.BatchNorm2d), config),
        module_sha256(module(), dict(config, size=(3, 2))),
        module_sha256(module(), dict(config, deep=dict(x=1, y=0))),
    ]
    assert len({digest, *others}) == 6


def test_module__spelling_and_origin_of_a_config_do_not_matter():
    config = dict(type='A', size=(2, 3), deep=dict(x=1))
    same = ConfigDict(
        deep=dict(x=1, init_cfg=dict(checkpoint='q')),
        size=[2, 3],
        type='scope.A',
        init_cfg=dict(checkpoint='p'),
    )
    assert module_sha256(module(), config) == module_sha256(module(), same)


def test_tokens_key__fits_a_signed_number_of_64_bits():
    keys = {tokens_key('f' * 64, dict(token_scale=scale)) for scale in range(50)}
    keys |= {tokens_key(f'{number:064}', {}) for number in range(50)}
    assert max(keys) < 2**60
    assert len(keys) == 100 and len({key >> 30 for key in keys}) == 100
