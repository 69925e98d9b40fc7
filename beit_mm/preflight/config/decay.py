"""Parameters of a Transformer that weight decay is not for."""

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from beit_mm.preflight.config.finding import Finding

# Last parts of names, in BEiTEncoder and in the Transformers of mmpretrain and timm.
TOKENS = ('cls_token', 'pos_embed', 'dist_token', 'absolute_pos_embed')
SCALES = ('gamma_1', 'gamma_2', 'gamma', 'ls1', 'ls2')
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def check_decay(config: Config) -> Iterator[Finding]:
    """Norms, biases, position embeddings, class token and layer scales that would be decayed.

    The backbone is built without memory for its weights, and the optimizer wrapper of the config
    sorts its parameters. BEiT itself decays mask token and relative position tables, so these are
    no finding. Backbones without a class token or positions are left alone: networks of
    convolutions are trained with weight decay on all. What can't be built is no finding here.
    """
    wrapper = config.get('optim_wrapper')
    model = config.get('model')
    backbone = model.get('backbone') if isinstance(model, Mapping) else None
    optimizer = wrapper.get('optimizer') if isinstance(wrapper, Mapping) else None
    if not isinstance(backbone, Mapping) or not isinstance(optimizer, Mapping):
        return
    if not optimizer.get('weight_decay'):
        return
    kinds = _decayed(config, backbone, wrapper)
    if kinds:
        found = '; '.join(
            f'{kind} ({len(names)} tensors, as {names[0]})' for kind, names in kinds.items()
        )
        chosen = 'paramwise_cfg' if wrapper.get('constructor') else 'constructor'
        yield Finding(
            'warning',
            f'optim_wrapper.{chosen}',
            f'weight_decay={optimizer["weight_decay"]} would pull to 0: {found}; set '
            "optim_wrapper.constructor='beit_mm.BEiTOptimWrapperConstructor', or exclude them with "
            'norm_decay_mult=0, flat_decay_mult=0 and custom_keys of paramwise_cfg',
        )


def _decayed(config: Config, backbone: Mapping, wrapper: Mapping) -> dict[str, list[str]]:
    """Names of decayed parameters by kind."""
    with _quiet(), DefaultScope.overwrite_default_scope(config.get('default_scope')):
        try:
            given = copy.deepcopy(dict(backbone))
            for name in ('init_cfg', 'pretrained'):  # no weights are needed
                given.pop(name, None)
            with torch.device('meta'):
                part = MODELS.build(given)
            model = nn.Module()
            model.backbone = part
            if not any(name.split('.')[-1] in TOKENS for name, _ in model.named_parameters()):
                return {}
            names = ('optimizer', 'constructor', 'paramwise_cfg')  # mixed precision asks for a GPU
            parts = {name: copy.deepcopy(wrapper[name]) for name in names if wrapper.get(name)}
            groups = build_optim_wrapper(model, parts).optimizer.param_groups
        except Exception:  # what is wrong with it, the training says
            return {}
    decayed = {id(p) for group in groups if group.get('weight_decay') for p in group['params']}
    norms = {
        id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False)
    }
    kinds: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in decayed or not parameter.requires_grad:
            continue
        parts = name.split('.')
        if id(parameter) in norms:
            kind = 'norm layers'
        elif parts[-1] in TOKENS:
            kind = 'tokens and position embeddings'
        elif any(part in SCALES for part in parts[-2:]) and parameter.ndim == 1:
            kind = 'layer scales'
        elif parameter.ndim == 1:
            kind = 'biases'
        else:
            continue
        kinds.setdefault(kind, []).append(f'model.{name}')
    return kinds


@contextmanager
def _quiet() -> Iterator[None]:
    """The constructors write each parameter's group to the log."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
