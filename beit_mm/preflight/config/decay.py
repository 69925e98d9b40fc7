"""Parameters of a Transformer that weight decay is not meant for."""

import copy
from collections.abc import Iterator, Mapping

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import class_name
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.model import without_weights
from beit_mm.preflight.config.quiet import quiet

# Last parts of parameter names in BEiTEncoder and in the Transformers of mmpretrain and timm.
TOKENS = ('cls_token', 'pos_embed', 'dist_token', 'reg_token', 'absolute_pos_embed')
# Constructors of MMSegmentation, which know the blocks of its own BEiT.
BY_LAYERS = ('LearningRateDecayOptimizerConstructor', 'LayerDecayOptimizerConstructor')
SCALES = ('gamma_1', 'gamma_2', 'gamma', 'ls1', 'ls2')
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def check_decay(config: Config) -> Iterator[Finding]:
    """Yield a warning if norms, biases, positions, class token or layer scales are decayed.

    BEiT decays mask token and relative position tables on purpose. Backbones without class token
    and positions are passed over, since convolutions are trained with weight decay on all weights.
    So is what cannot be built: the training says why.
    """
    wrapper, backbone = config.get('optim_wrapper'), value_at(config, 'model.backbone')
    optimizer = value_at(config, 'optim_wrapper.optimizer')
    if not isinstance(backbone, Mapping) or not isinstance(optimizer, Mapping):
        return
    if not optimizer.get('weight_decay'):
        return
    constructor = class_name(dict(type=wrapper.get('constructor')))
    if constructor in BY_LAYERS and class_name(backbone) == 'BEiTEncoder':
        yield Finding.warning(
            'optim_wrapper.constructor',
            f'{constructor} finds no block of BEiTEncoder, so that all learn at the rate of the '
            "head; take 'beit_mm.BEiTOptimWrapperConstructor' with layer_decay_rate",
        )
    kinds: dict[str, list[str]] = {}
    for kind, name in _decayed(config, backbone, wrapper):
        kinds.setdefault(kind, []).append(name)
    if kinds:
        found = '; '.join(
            f'{kind} ({len(names)} tensors, as {names[0]})' for kind, names in kinds.items()
        )
        chosen = 'paramwise_cfg' if wrapper.get('constructor') else 'constructor'
        yield Finding.warning(
            f'optim_wrapper.{chosen}',
            f'weight_decay={optimizer["weight_decay"]} would pull to 0: {found}; set '
            "optim_wrapper.constructor='beit_mm.BEiTOptimWrapperConstructor', or exclude them with "
            'norm_decay_mult=0, flat_decay_mult=0 and custom_keys of paramwise_cfg',
        )


def _decayed(config: Config, backbone: Mapping, wrapper: Mapping) -> Iterator[tuple[str, str]]:
    """Yield kind and name of the parameters that are decayed, and should not be.

    The backbone is built without memory for its weights, and the optimizer wrapper of the config
    sorts its parameters.
    """
    with quiet(), DefaultScope.overwrite_default_scope(config.get('default_scope')):
        try:
            model = nn.Module()
            with torch.device('meta'):
                model.backbone = MODELS.build(without_weights(backbone))
            if not any(name.split('.')[-1] in TOKENS for name, _ in model.named_parameters()):
                return
            names = ('optimizer', 'constructor', 'paramwise_cfg')  # mixed precision asks for a GPU
            parts = {name: copy.deepcopy(wrapper[name]) for name in names if wrapper.get(name)}
            groups = build_optim_wrapper(model, parts).optimizer.param_groups
        except Exception:  # of any backbone or optimizer that a config can name
            return
    decayed = {id(p) for group in groups if group.get('weight_decay') for p in group['params']}
    norms = {
        id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False)
    }
    for name, parameter in model.named_parameters():
        if id(parameter) in decayed and parameter.requires_grad:
            kind = 'norm layers' if id(parameter) in norms else _kind_of(name, parameter)
            if kind is not None:
                yield kind, f'model.{name}'


def _kind_of(name: str, parameter: nn.Parameter) -> str | None:
    """Return what a parameter is, None if it may be decayed."""
    parts = name.split('.')
    if parts[-1] in TOKENS:
        return 'tokens and position embeddings'
    if parameter.ndim != 1:
        return None
    return 'layer scales' if any(part in SCALES for part in parts[-2:]) else 'biases'
