"""The config of a built model as plain values, from which it can be built again without its file.

Types carry their scope, what other parts of the model say is filled in, and what only a training
needs or what names files is left out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch.nn as nn
from mmengine.registry import Registry

from beit_mm.contracts import Backbone, FeatureExtractor, MIMHead, MIMNeck, Quantizer, Target
from beit_mm.contracts.constructor import with_defaults
from beit_mm.contracts.derived import facts_of_backbone, with_derived
from beit_mm.contracts.target import is_target_class, tokenizer_of
from beit_mm.registry import MODELS

# Options of the training, of this machine and of its files.
LEFT_OUT = (
    *('init_cfg', 'pretrained', 'backend_args', 'file_client_args', '_scope_'),
    *('train_cfg', 'batch_augments', 'non_blocking'),
)
# Their defaults are written down; other classes may get more from what builds them.
WITH_DEFAULTS = (Backbone, FeatureExtractor, MIMHead, MIMNeck, Quantizer, Target)


class NotPlainError(TypeError):
    """A config holds something that plain values cannot say."""


# Of configs of unknown classes: a checkpoint then does not say how to build its model.
ODD = (TypeError, ValueError, KeyError, AttributeError, ImportError)


def task_of_model(model: nn.Module) -> str | None:
    """Return what a model is for, None if it is of no known kind."""
    parts = dict(model.named_children())
    if isinstance(model, Target):
        return 'tokenizer'
    if tokenizer_of(model)[0] is not None:
        return 'pretraining'
    if 'backbone' in parts and 'decode_head' in parts:
        return 'segmentation'
    if 'backbone' in parts and 'head' in parts:
        return 'classification'
    return 'backbone' if isinstance(model, Backbone) else None


def architecture_of(model: nn.Module, config: Mapping) -> dict[str, Any] | None:
    """Return how to build ``model`` again, None where plain values do not say it.

    Args:
        config: Of the whole run: ``model``, ``data_preprocessor`` and ``default_scope``.
    """
    own = config.get('model')
    if not isinstance(own, Mapping):
        return None
    own, scope = dict(own), config.get('default_scope')
    preprocessor = own.pop('data_preprocessor', None) or config.get('data_preprocessor')
    try:
        target, prefix = tokenizer_of(model)
        if prefix:
            known = facts_of_backbone(dict(model.named_children()).get('backbone'))
            own['neck'] = with_derived('neck', own['neck'], MODELS, known)
            known |= dict(vocab_size=target.vocab_size, target_dims=target.target_dims)
            own['head'] = with_derived('head', own['head'], MODELS, known)
        found = plain_config(own, scope)
        if isinstance(preprocessor, Mapping):
            built = type(dict(model.named_children())['data_preprocessor'])
            preprocessor = dict(preprocessor, type=preprocessor.get('type', built))
            found['data_preprocessor'] = plain_config(preprocessor, scope)
    except ODD:
        return None
    return found


def plain_config(value: Any, scope: str | None, registry: Registry = MODELS) -> Any:
    """Return a config in plain values, with scoped types and without what is in ``LEFT_OUT``.

    Args:
        scope: In which types without a prefix are looked up.

    Raises:
        NotPlainError: It holds an object.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [plain_config(item, scope, registry) for item in value]
    if not isinstance(value, Mapping):
        raise NotPlainError(f'{value!r} is no plain value')
    value, scope = dict(value), value.get('_scope_', scope)
    if 'type' in value:
        value['type'], cls = scoped_type(value['type'], scope, registry)
        if isinstance(cls, type) and issubclass(cls, WITH_DEFAULTS):
            value = {'type': None, **with_defaults(cls, value)}
        if is_target_class(cls):
            value = dict(cls.for_inference(value))
    return {
        str(key): plain_config(item, scope, registry)
        for key, item in value.items()
        if key not in LEFT_OUT
    }


def scoped_type(name: Any, scope: str | None, registry: Registry = MODELS) -> tuple[str, Any]:
    """Return the name by which a class is found from any scope, and the class or None.

    Classes of the root registry, such as norms, have no prefix: libraries compare their names.
    """
    if not isinstance(name, str):
        wanted, places = name, _registries(registry)
        for place in places:
            for known, cls in place.module_dict.items():
                if cls is wanted:
                    return _prefixed(place, known, cls), cls
        raise NotPlainError(f'{name!r} is in no registry')
    if '.' in name:
        prefix, last = name.split('.', 1)
        place = next((r for r in _registries(registry) if r.scope == prefix), None)
        cls = None if place is None else place.module_dict.get(last)
        return (last if prefix == 'mmengine' and cls is not None else name), cls
    with registry.switch_scope_and_registry(scope) as first:
        for place in (first, registry._get_root_registry(), registry):
            place.import_from_location()
            if name in place.module_dict:
                cls = place.module_dict[name]
                return _prefixed(place, name, cls), cls
    return name, None


def _registries(registry: Registry) -> list[Registry]:
    root = registry._get_root_registry()
    return [root, *root.children.values()]


def _prefixed(registry: Registry, name: str, cls: Any) -> str:
    shared = registry._get_root_registry().module_dict.get(name)
    # A class of ours of the same name does the same, faster: files name the one that all have.
    is_ours = registry.scope == 'beit_mm' and isinstance(cls, type) and shared in cls.__mro__
    return name if cls is shared or is_ours else f'{registry.scope}.{name}'
