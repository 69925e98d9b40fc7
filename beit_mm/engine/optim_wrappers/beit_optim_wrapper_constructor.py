from collections import defaultdict

import torch.nn as nn
from mmengine.logging import print_log
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.constructor import class_of, with_defaults
from beit_mm.contracts.positions import TABLE
from beit_mm.contracts.runner_access import unwrap
from beit_mm.preflight.config.decay import TOKENS
from beit_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BEiTOptimWrapperConstructor:
    """Layer-wise learning rates and BEiT's weight decay, for every task.

    The backbone says how deep a parameter is (``get_layer_depth``). A parameter of depth i of n
    gets ``lr * layer_decay_rate ** (n - 1 - i)``, and all outside of the backbone get ``lr``.
    Tensors of at most one dimension, biases and ``TOKENS`` have no weight decay;
    ``mask_token`` and the relative position tables have (unilm beit/optim_factory.py). Parameters
    without gradient are left out of the optimizer.

    Args:
        optim_wrapper_cfg: MMEngine's, with ``optimizer``.
        paramwise_cfg: ``layer_decay_rate`` (1.0), ``decay_rel_pos`` (True: as the original) and
            ``no_decay_names``, more parameters without decay, by the last part of their names.

    Raises:
        UserError: A key is unknown, the model has no backbone that tells depths, or the optimizer
            does not take its parameters.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        given = dict(paramwise_cfg or {})
        self.layer_decay_rate = given.pop('layer_decay_rate', 1.0)
        self.decay_rel_pos = given.pop('decay_rel_pos', True)
        self.no_decay_names = (*TOKENS, *given.pop('no_decay_names', ()))
        if given:
            raise UserError(
                f'optim_wrapper.paramwise_cfg: unknown {sorted(given)}; this constructor takes '
                'layer_decay_rate, decay_rel_pos and no_decay_names'
            )
        rate = self.layer_decay_rate
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            key = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
            raise UserError(f'{key}={rate!r}: expected a number in (0, 1]')

    def __call__(self, model: nn.Module):
        model = unwrap(model)
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        optimizer_cfg = dict(wrapper_cfg.pop('optimizer'))
        lr, decay = optimizer_cfg.get('lr'), _weight_decay(optimizer_cfg)
        for name, value in dict(lr=lr, weight_decay=decay).items():
            if value is None or isinstance(value, str):
                key = f'optim_wrapper.optimizer.{name}'
                raise UserError(f'{key}={value!r}: expected a number, for example 1e-3')
        groups = self.param_groups(model, lr, decay)
        _log_table(groups)
        try:
            optimizer = OPTIMIZERS.build(dict(optimizer_cfg, params=groups))
        except Exception as error:  # of any optimizer that a config can name
            number = sum(len(group['params']) for group in groups)
            raise UserError(
                f'optim_wrapper.optimizer={optimizer_cfg} cannot be built for the {number} tensors '
                f'of {type(model).__name__} that have a gradient: {error}; change its arguments, '
                "or take another type, for example 'AdamW'"
            ) from error
        wrapper_cfg.setdefault('type', 'OptimWrapper')
        return OPTIM_WRAPPERS.build(wrapper_cfg, default_args=dict(optimizer=optimizer))

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict]:
        """Return a group (``params``, ``lr``, ``weight_decay``) per depth and kind of decay."""
        members = defaultdict(list)
        for name, param in model.named_parameters():
            if param.requires_grad:
                members[self._lr_scale(model, name), self._is_decayed(name, param)].append(param)
        return [
            dict(
                params=params,
                lr=lr * scale,
                weight_decay=weight_decay if decayed else 0.0,
                lr_scale=scale,
            )
            for (scale, decayed), params in sorted(members.items(), key=lambda item: item[0])
        ]

    def _lr_scale(self, model: nn.Module, name: str) -> float:
        if self.layer_decay_rate == 1:
            return 1.0
        if not name.startswith('backbone.'):
            if 'backbone' not in dict(model.named_children()):
                raise UserError(
                    f'optim_wrapper.paramwise_cfg.layer_decay_rate={self.layer_decay_rate}, but '
                    f'{type(model).__name__} has no backbone; leave it out'
                )
            return 1.0
        if not hasattr(model.backbone, 'get_layer_depth'):  # it may be of another library
            raise UserError(
                f'optim_wrapper.paramwise_cfg.layer_decay_rate={self.layer_decay_rate} needs a '
                f'backbone with get_layer_depth(name, prefix), which '
                f'{type(model.backbone).__name__} lacks; leave layer_decay_rate out'
            )
        depth, num_depths = model.backbone.get_layer_depth(name, prefix='backbone.')
        return self.layer_decay_rate ** (num_depths - 1 - depth)

    def _is_decayed(self, name: str, param: Tensor) -> bool:
        last = name.rsplit('.', 1)[-1]
        if last == TABLE:
            return self.decay_rel_pos
        return param.ndim > 1 and not name.endswith('.bias') and last not in self.no_decay_names


def _weight_decay(optimizer: dict) -> float:
    """Return what a config says, else the default of the optimizer's class, else 0."""
    cls = class_of(optimizer, OPTIMIZERS)
    found = with_defaults(cls, optimizer) if isinstance(cls, type) else optimizer
    return found.get('weight_decay', 0.0)


def _log_table(groups: list[dict]) -> None:
    rows = [
        f'  lr {group["lr"]:.3g} (x {group["lr_scale"]:.3g}), weight decay '
        f'{group["weight_decay"]:g}: {len(group["params"])} tensors, '
        f'{sum(p.numel() for p in group["params"]):,} parameters'
        for group in groups
    ]
    print_log('\n'.join(['Parameter groups:', *rows]), logger='current')
