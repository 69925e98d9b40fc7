"""What MMEngine's ``CheckpointLoader`` calls for each scheme, see ``beit_mm.safe_loading``."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint

from beit_mm.checkpoints.download import fetch
from beit_mm.checkpoints.layouts import LAYOUTS, OURS, detect, unwrap, weights_of
from beit_mm.checkpoints.reading import read_checkpoint
from beit_mm.contracts.errors import UserError

KEEP_VARIABLE = 'BEIT_MM_KEEP_LAYOUT'
# Their names stay beside ours, so that models of these packages load their own checkpoints.
KEPT = ('mmpretrain', 'mmseg', 'vqkd')

_kept: ContextVar[bool] = ContextVar('kept', default=False)


@contextmanager
def keep_layout() -> Iterator[None]:
    """Load foreign checkpoints under their own names inside of this context.

    The environment variable ``BEIT_MM_KEEP_LAYOUT=1`` does so everywhere.
    """
    token = _kept.set(True)
    try:
        yield
    finally:
        _kept.reset(token)


def load_from_local(filename: str, map_location: str | Callable | None = None) -> Any:
    return in_our_layout(read_checkpoint(filename, map_location), filename)


def load_from_http(filename: str, map_location: str | Callable | None = None) -> Any:
    return in_our_layout(read_checkpoint(fetch(filename), map_location), filename)


def load_from_torchvision(filename: str, map_location: str | Callable | None = None) -> Any:
    urls = mmengine_checkpoint.get_torchvision_models()
    return _load_named(filename, urls, map_location)


def load_from_openmmlab(filename: str, map_location: str | Callable | None = None) -> Any:
    urls = mmengine_checkpoint.get_external_models()
    old = mmengine_checkpoint.get_deprecated_model_names()
    name = filename.split('://', 1)[1]
    return _load_named(f'open-mmlab://{old.get(name, name)}', urls, map_location)


def load_from_mmcls(filename: str, map_location: str | Callable | None = None) -> Any:
    checkpoint = _load_named(filename, mmengine_checkpoint.get_mmcls_models(), map_location)
    weights = weights_of(checkpoint)  # the backbone without its prefix, as MMEngine says
    return dict(
        state_dict={
            name.removeprefix('backbone.'): tensor
            for name, tensor in weights.items()
            if name.startswith('backbone.')
        }
    )


def refuse(filename: str, map_location: str | Callable | None = None) -> Any:
    """Raise for the stores of OpenMMLab's own clusters, whose clients are not public."""
    scheme = filename.split('://', 1)[0]
    raise UserError(f'{filename}: {scheme}:// is not read; download the file and give its path')


def _load_named(filename: str, urls: dict, map_location: str | Callable | None) -> Any:
    name = filename.split('://', 1)[1]
    if name not in urls:
        raise UserError(f'{filename}: MMEngine knows no model of this name')
    url = urls[name]
    if '://' not in url:
        url = os.path.join(mmengine_checkpoint._get_mmengine_home(), url)
        return load_from_local(url, map_location)
    return load_from_http(url.replace('http://', 'https://', 1), map_location)


def in_our_layout(checkpoint: Any, source: str) -> Any:
    """Rename the tensors of a checkpoint of another code base; return one of ours as it is.

    MMEngine does not tell a loader which model it loads for, so the names decide.
    """
    if _kept.get() or os.environ.get(KEEP_VARIABLE, '0').lower() in ('1', 'true', 'yes'):
        return checkpoint
    if not isinstance(checkpoint, Mapping):
        return checkpoint
    weights, around = unwrap(checkpoint)
    rest = {}
    if 'state_dict' in checkpoint:
        rest = {name: value for name, value in checkpoint.items() if name != 'state_dict'}
    if weights and around not in ([], ['state_dict']):  # MMEngine unwraps state_dict alone
        print_log(f'{source}: took the tensors out of {", ".join(around)}', logger='current')
        checkpoint = dict(rest, state_dict=weights)
    layout = detect(weights)
    if layout in (None, OURS):
        return checkpoint
    conversion = LAYOUTS[layout].to_ours(weights)
    print_log(
        f'{source} has the layout of {layout}; its names were converted to those of beit_mm: '
        f'{conversion.summary()}',
        logger='current',
        level=logging.INFO,
    )
    kept = weights if layout in KEPT else {}
    return dict(rest, state_dict={**kept, **conversion.result})
