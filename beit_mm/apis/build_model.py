"""A model out of the plain values of a description: known classes, of the sizes of its file."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
from mmcv.transforms import BaseTransform
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import Registry
from torch import Tensor
from torch.nn.modules import module as torch_module

from beit_mm.apis.allowed_types import MODEL_TYPES, REFUSED_KEYS, TRANSFORM_TYPES
from beit_mm.contracts import MissingPackageError, UserError
from beit_mm.registry import MODELS, TRANSFORMS

MOST_DEPTH, MOST_ITEMS = 20, 10_000
MOST_PIXELS = 2**14  # of a side, in a pipeline; what a model needs is measured
# Some losses load class weights from a file, a pickle too.
FILE = re.compile(
    r'[/\\]|\.(pkl|pickle|npy|npz|json|ya?ml|py|pth?|bin|safetensors)$', re.IGNORECASE
)
ON_META = (
    '. It is built once without memory, where its constructor can read no values of tensors; give '
    'the config of its training (config=...), which is built at once'
)
ROOM = 1000  # tensors of parts that the file does not hold, such as the second half of VQ-KD
ROOM_BYTES = 2**28


def build_model(
    architecture: Mapping,
    weights: Mapping[str, Tensor],
    source: str,
    allow: Collection[str] | None = (),
) -> nn.Module:
    """Build what a description says, with the weights of its file, in eval mode on the CPU.

    It is built without memory first, and only if its tensors have the shapes of ``weights`` for
    good: a small file cannot ask for more than it holds.

    Args:
        architecture: See ``beit_mm.checkpoints.description.architecture_of``.
        source: Name of the file, for messages.
        allow: More types that may be built, as the description writes them; None builds all that
            is said, which then has to be a config of the caller's own.

    Raises:
        UserError: A type or key is not allowed, or model and weights do not fit.
    """
    config = architecture
    if isinstance(allow, str):
        raise UserError(f'allow={allow!r} is one text; expected a list of names, [{allow!r}]')
    if allow is not None:
        config = checked(architecture, MODEL_TYPES, allow, f'{source}: architecture')
        with _no_more_than(weights, source), torch.device('meta'):
            empty = _build(config, MODELS, source)
        _check_shapes(empty, weights, source)
    model = revert_sync_batchnorm(_build(config, MODELS, source))
    load_weights(model, weights, source)
    return model.eval()


def build_transforms(
    pipeline: list, source: str, allow: Collection[str] | None = ()
) -> list[BaseTransform]:
    """Build the transforms of a description; ``allow`` is that of :func:`build_model`.

    Raises:
        UserError: A type or key is not allowed.
    """
    if allow is not None:
        where = f'{source}: preprocessing.pipeline'
        pipeline = checked(pipeline, TRANSFORM_TYPES, allow, where, MOST_PIXELS)
    return [_build(_with_tuples(step), TRANSFORMS, source) for step in pipeline]


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load all tensors of a model; one that is not pre-trained needs no mask embedding.

    Raises:
        UserError: Some are missing, or have other shapes. The message names them.
    """
    try:
        found = model.load_state_dict(dict(weights), strict=False)
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise UserError(f'{source} does not fit its model: {lines[-1].strip()}') from error
    is_masked = any(name.startswith('tokenizer.') for name in weights)
    missing = [n for n in found.missing_keys if is_masked or not n.endswith('mask_token')]
    if missing:
        raise UserError(
            f'{source} has no weights for {len(missing)} tensors of its model, {missing[0]} for '
            'example; give the config that it was trained with (config=...)'
        )


def checked(
    value: Any, types: Collection[str], allow: Collection[str], where: str, most: float = math.inf
) -> Any:
    """Return a config of plain values of which every type is in ``types`` or in ``allow``.

    Args:
        where: Name of the config, for messages.
        most: No number may be larger.

    Raises:
        UserError: It names another type, a refused key or a file, or holds other values than plain
            ones.
    """

    def check(part: Any, path: str, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise UserError(f'{path} is nested more than {MOST_DEPTH} times; the file is damaged')
        if isinstance(part, str) and FILE.search(part):
            raise UserError(f'{path}={part!r} looks like a file, which no description names')
        if isinstance(part, int | float) and not abs(part) <= most:
            raise UserError(f'{path}={part}: expected at most {most}')
        if part is None or isinstance(part, bool | str | int | float):
            return part
        if isinstance(part, list | tuple | Mapping) and len(part) > MOST_ITEMS:
            raise UserError(f'{path} has {len(part)} items; the file is damaged')
        if isinstance(part, list | tuple):
            return [check(item, f'{path}.{n}', depth + 1) for n, item in enumerate(part)]
        if not isinstance(part, Mapping):
            raise UserError(f'{path} is a {type(part).__name__}, no plain value')
        for key in part:
            if key in REFUSED_KEYS:
                raise UserError(
                    f'{path}.{key}: a description names no files and no code; give a config of '
                    'yours instead (config=...)'
                )
        if 'type' in part:
            _check_type(part['type'], types, allow, path)
        return {str(key): check(item, f'{path}.{key}', depth + 1) for key, item in part.items()}

    return check(value, where, 0)


def _check_type(name: Any, types: Collection[str], allow: Collection[str], path: str) -> None:
    is_known = isinstance(name, str) and (name in types or name in allow)
    if is_known or isinstance(name, str) and name.removeprefix('beit_mm.') in allow:
        return
    raise UserError(
        f'{path}.type={name!r} is no class that a file may name. If it is yours, import its module '
        f'and give load_model(..., allow=[{name!r}]); or give the config of the training '
        '(config=...)'
    )


def _build(config: Mapping, registry: Registry, source: str) -> Any:
    """Build in the scope of the outermost class, in which it looks for its defaults."""
    name = config.get('type')
    scope = name.split('.')[0] if isinstance(name, str) and '.' in name else 'beit_mm'
    try:
        with registry.switch_scope_and_registry(scope):
            return registry.build(ConfigDict(config))
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    except (ImportError, KeyError, RuntimeError) as error:
        packages = dict(mmpretrain='onedl-mmpretrain', mmseg='onedl-mmsegmentation')
        if scope in packages and 'not in the' in str(error):
            raise MissingPackageError(
                f'{source} needs {name}: pip install {packages[scope]}'
            ) from error
        advice = ON_META if 'meta tensor' in str(error) else ''
        raise UserError(f'{source}: {name} cannot be built: {error}{advice}') from error
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        raise UserError(
            f'{source}: {name} cannot be built of what the description says: {error}'
        ) from error


@contextmanager
def _no_more_than(weights: Mapping[str, Tensor], source: str) -> Iterator[None]:
    """Stop the building of a model with many more tensors than ``weights``, here and now."""
    left = 4 * len(weights) + ROOM

    def count(module, name, parameter) -> None:
        nonlocal left
        left -= parameter is not None
        if left < 0:
            raise UserError(
                f'{source}: its description asks for many more tensors than the {len(weights)} of '
                'the file; the two do not belong together'
            )

    handle = torch_module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _check_shapes(empty: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Raise a UserError unless what a model needs is in a file, of the same shapes.

    Names of earlier versions and sizes that are adapted are left to the loading: a tensor that the
    file has under this name has to agree, and all of them together may not be larger than its.
    """
    own = empty.state_dict()
    for name, tensor in own.items():
        if name in weights and tensor.shape != weights[name].shape:
            raise UserError(
                f'{source}: {name} is {tuple(weights[name].shape)}, but the description makes it '
                f'{tuple(tensor.shape)}; the two do not belong together'
            )
    has = sum(tensor.untyped_storage().nbytes() for tensor in weights.values())
    kept = [*own.values(), *empty.buffers()]
    needs = sum(tensor.numel() * tensor.itemsize for tensor in kept)
    if needs > 8 * has + ROOM_BYTES:
        raise UserError(
            f'{source}: its description asks for {needs} bytes, but its weights have {has}; the '
            'two do not belong together'
        )


def _with_tuples(value: Any) -> Any:
    """Return a config of a transform with pairs as tuples, which a JSON text has as lists."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return value
