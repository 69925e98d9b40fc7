"""The model of a config, built without memory for its weights: what it refuses, and what fits."""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from traceback import walk_tb
from typing import Any

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from beit_mm.contracts import FeatureExtractor, Finding, UserError
from beit_mm.contracts.config_walk import entries
from beit_mm.preflight.config.classes import KNOWN_PACKAGES, class_of, package_of
from beit_mm.preflight.config.parts import backbone_in
from beit_mm.preflight.config.quiet import explain_error, quiet

WEIGHTS = ('init_cfg', 'pretrained')  # not needed, and perhaps not there yet
# What torch says of sizes that do not fit; the rest may be due to the missing memory.
SIZES = re.compile(
    'shapes? .*(multipl|match)|size mismatch|must match|expected input|normalized_s|'
    'reduction dim|channel dimensions'
)
BUILT_OF = (*KNOWN_PACKAGES, 'torch')
REFUSED = (UserError, TypeError, KeyError, AssertionError, AttributeError, ValueError)


def check_model(config: Config, known: list[str]) -> Iterator[Finding]:
    """Yield an error for each part of the model that cannot be built, or does not fit the others.

    A part is what the model builds by itself: backbone, neck, head, tokenizer. If all can be built,
    images pass through them. Parts with errors that are known are left out, and so are models with
    parts that are built from files.

    Args:
        known: Keys, and packages that are missing, at which errors were found already.
    """
    model, scope = config.get('model'), config.get('default_scope') or 'mmengine'
    if {key.split('.')[0] for key in known} & {*KNOWN_PACKAGES} or not isinstance(model, Mapping):
        return
    if not _is_known(model, scope):
        return
    if wrong := {key.split('.')[1] for key in known if key.startswith('model.')}:
        yield from _parts({key: part for key, part in model.items() if key not in wrong}, scope)
        return
    if {'model', 'data_preprocessor'} & {*known}:
        return
    outer = {key: config[key] for key in ('data_preprocessor',) if config.get(key) is not None}
    built, error = _build({**outer, **model}, scope)
    if error is None:
        with quiet():
            error, given = _forward(built, config)
        if error is not None:
            message = f'does not fit{given}: {explain_error(error)}'
            yield Finding.error(_place(error, built), message)
        return
    found = [*_parts(model, scope)]
    yield from found or [Finding.error('model', explain_error(error, model))]


def _parts(model: Mapping, scope: str) -> Iterator[Finding]:
    """Yield the parts that cannot be built; what needs an argument of another part may do so."""
    for key, part in model.items():
        for place, one in entries(part, f'model.{key}'):
            if key in WEIGHTS or not isinstance(one, Mapping) or 'type' not in one:
                continue
            _, error = _build(one, one.get('_scope_') or model.get('_scope_') or scope)
            if error is not None and 'required positional argument' not in str(error):
                yield Finding.error(place, explain_error(error, one))


def _build(given: Mapping, scope: str) -> tuple[nn.Module | None, Exception | None]:
    with quiet(), DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        try:
            return MODELS.build(without_weights(given)), None
        except Exception as error:  # others may be of memory that is not there
            is_said = isinstance(error, REFUSED) or SIZES.search(str(error))
            return None, error if is_said else None


def _forward(model: nn.Module | None, config: Config) -> tuple[Exception | None, str]:
    """Pass images of the backbone's size through the model.

    Returns:
        The error that they meet, and in words what the last part has given.
    """
    backbone, outputs = backbone_in(config), []
    if model is None or backbone is None:
        return None, ''
    for name, part in model.named_children():
        part.register_forward_hook(lambda _, __, found, name=name: outputs.append((name, found)))
    size = backbone.get('img_size') or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = backbone.get('in_channels') or backbone.get('in_chans') or 3
    with torch.device('meta'), torch.no_grad(), suppress(ValueError, TypeError, AttributeError):
        try:
            model.eval()(torch.zeros(2, channels, height, width), mode='tensor')
        except RuntimeError as error:
            if SIZES.search(str(error)):
                return error, _describe(*outputs[-1]) if outputs else ' the images'
    return None, ''


def _describe(name: str, found: Any) -> str:
    found = found if isinstance(found, list | tuple) else [found]
    shapes = dict.fromkeys(f'{tuple(one.shape)}' for one in found if isinstance(one, torch.Tensor))
    return f' what the {name} gives, {" and ".join(shapes)}'


def _place(error: Exception, model: nn.Module) -> str:
    """Return the key of the part of a model in which an error was raised."""
    names, place = {id(part): name for name, part in model.named_children()}, 'model'
    for frame, _ in walk_tb(error.__traceback__):
        if name := names.get(id(frame.f_locals.get('self'))):
            place = f'model.{name}'
    return place


def _is_known(value: Any, scope: str) -> bool:
    """Return whether all classes are of known packages, and none is built from a file."""
    if isinstance(value, list | tuple):
        return all(_is_known(item, scope) for item in value)
    if not isinstance(value, Mapping):
        return True
    inner, cls = value.get('_scope_') or scope, class_of(MODELS, value, scope)
    if isinstance(cls, type):
        if issubclass(cls, FeatureExtractor) or package_of(cls) not in BUILT_OF:
            return False
    return all(_is_known(part, inner) for key, part in value.items() if key not in WEIGHTS)


def without_weights(value: Any) -> Any:
    """Copy a config without what loads files."""
    if isinstance(value, Mapping):
        kept = {key: without_weights(part) for key, part in value.items() if key not in WEIGHTS}
        return type(value)(kept)
    if isinstance(value, list | tuple):
        return type(value)(map(without_weights, value))
    return copy.deepcopy(value)
