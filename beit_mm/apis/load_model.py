import copy
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from beit_mm.apis.build_model import build_model, build_transforms
from beit_mm.apis.foreign_folder import describe_folder
from beit_mm.apis.model import Model
from beit_mm.checkpoints import in_our_layout, read_checkpoint, read_description, unwrap
from beit_mm.checkpoints.description import facts_of, images_of
from beit_mm.checkpoints.description.architecture import NotPlainError, plain_config, scoped_type
from beit_mm.checkpoints.description.stored import FORMAT, meta_of
from beit_mm.checkpoints.find_checkpoint import EXPORTED, find_checkpoint
from beit_mm.contracts import Backbone, MissingFileError, UserError
from beit_mm.contracts.config_sizes import apply_sizes
from beit_mm.contracts.config_walk import first_pipeline, leaf_dataset_configs
from beit_mm.models.layers.half_precision import describe_slowdown
from beit_mm.registry import MODELS

DTYPES = dict(float32=None, float16=torch.float16, bfloat16=torch.bfloat16)


def load_model(
    source: str | Path,
    config: str | Path | Config | None = None,
    device: str | torch.device = 'cpu',
    dtype: str | torch.dtype | None = None,
    ema: bool | None = None,
    allow: Collection[str] = (),
) -> Model:
    """Load what a training or an export has left, ready for images.

    A checkpoint of this package says how its model is built and how its images are prepared. That
    is read as plain values, and only known classes are built of it; no code of the file and no
    config text is run.

    Args:
        source: A work dir (its best checkpoint, else the last one), a checkpoint (a file or an
            https address), an exported folder, or a folder of BEiT that transformers or timm
            wrote (``config.json`` beside ``model.safetensors``).
        config: Of the training, a file or a Config, for a checkpoint that does not say how it is
            built; it takes precedence over what the checkpoint says. Like any config, it is code.
        device: Where the model computes, such as 'cuda'.
        dtype: 'float16' or 'bfloat16' computes in this precision (autocast); the weights and the
            tokenizer stay in float32, so that tokens do not change.
        ema: Of a training with an average of its weights: True takes the average or raises an error
            where there is none, False the weights without averaging. None takes what was validated:
            the average where there is one.
        allow: Types of your own that a description may name, such as ``['MyHead']``. Their modules
            have to be imported before.

    Raises:
        MissingFileError: There is no ``source`` or ``config``.
        UserError: The file cannot be read safely, does not say how its model is built, names a
            class that is not known, or its weights do not fit.
    """
    path = find_checkpoint(source)
    checkpoint = in_our_layout(read_checkpoint(path), str(path))
    weights = _choose_weights(checkpoint, str(path), ema)
    if config is not None:
        module, description, steps = _from_config(_read_config(config), checkpoint, weights, path)
    else:
        description = read_description(path)
        if description is None and path.name in EXPORTED:
            description = describe_folder(path.parent, weights)
        if description is None or 'architecture' not in description:
            raise UserError(
                f'{path} does not say how its model is built (another program or an earlier '
                'version wrote it); give the config of its training: load_model(..., config=...)'
            )
        if description.get('task') == 'backbone':
            weights = _without_prefix(weights, 'backbone.')
        module = build_model(description['architecture'], weights, str(path), allow)
        pipeline = description.get('preprocessing', {}).get('pipeline', [])
        steps = build_transforms(pipeline, str(path), allow)
    if description.get('task') is None:
        raise UserError(
            f'{path}: {type(module).__name__} is neither tokenizer, pre-training, classifier, '
            'segmentor nor backbone'
        )
    place = _device(device)
    return Model(module, description, steps, place, _dtype(dtype, place), str(path))


def _choose_weights(checkpoint: Any, source: str, ema: bool | None) -> dict[str, Tensor]:
    """Return the average of the weights, or those without averaging.

    MMEngine's EMAHook saves the average as ``state_dict``, and the others as ``ema_state_dict``.
    """
    is_averaged = isinstance(checkpoint, Mapping) and {'state_dict', 'ema_state_dict'} <= set(
        checkpoint
    )
    if ema and not is_averaged:
        raise UserError(
            f'{source} has no average of its weights (its training had no EMAHook); leave ema out'
        )
    if is_averaged and ema is False:
        live = {n: t for n, t in checkpoint['ema_state_dict'].items() if n != 'steps'}
        return unwrap(dict(state_dict=live))[0]
    weights = unwrap(checkpoint)[0]
    if not weights:
        raise UserError(f'{source} holds no weights')
    return weights


def _without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part without its prefix; all of them where none has it."""
    part = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    return part or weights


def _from_config(config: Config, checkpoint: Any, weights: Mapping[str, Tensor], path: Path):
    """Build what a config of the user says, and describe it as checkpoints do."""
    scope = config.get('default_scope') or 'beit_mm'
    try:
        architecture = plain_config(dict(config.model), scope)
        preprocessor = architecture.get('data_preprocessor') or config.get('data_preprocessor')
        if is_encoder := _names_encoder(architecture):
            weights = _without_prefix(weights, 'backbone.')
            architecture.pop('data_preprocessor', None)
        elif preprocessor and not architecture.get('data_preprocessor'):
            preprocessor = plain_config(preprocessor, scope)
            if scope == 'mmpretrain':  # the default of its models
                preprocessor.setdefault('type', 'mmpretrain.ClsDataPreprocessor')
            architecture['data_preprocessor'] = preprocessor
    except NotPlainError as error:
        raise UserError(f'config.model: {error}; write it with names and numbers') from error
    with MODELS.switch_scope_and_registry(scope):
        module = build_model(architecture, weights, str(path), allow=None)
    meta = meta_of(checkpoint).get('dataset_meta')
    if not isinstance(meta, Mapping):
        leaf = next(leaf_dataset_configs(config), None)
        meta = leaf.config.get('metainfo') if leaf is not None else None
    description = dict(format=FORMAT, **facts_of(module, config, meta))
    if is_encoder:
        description['images'] = images_of(preprocessor, first_pipeline(config))
    pipeline = description.get('preprocessing', {}).get('pipeline', [])
    return module, description, build_transforms(pipeline, str(path), allow=None)


def _names_encoder(architecture: Mapping) -> bool:
    cls = scoped_type(architecture.get('type'), 'beit_mm')[1]
    return isinstance(cls, type) and issubclass(cls, Backbone)


def _read_config(config: str | Path | Config) -> Config:
    if isinstance(config, Config):
        found = copy.deepcopy(config)
    elif Path(config).is_file():
        found = Config.fromfile(config)
    else:
        raise MissingFileError(f'There is no config file {config} (looked in {Path.cwd()})')
    apply_sizes(found)
    return found


def _dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype | None:
    """Return the type to compute in, None for that of the weights."""
    name = str(dtype or 'float32').removeprefix('torch.')
    if name not in DTYPES:
        raise UserError(f'dtype={dtype!r}: expected one of {", ".join(DTYPES)}')
    half = DTYPES[name]
    if half and device.type == 'cpu' and (slow := describe_slowdown(half)):
        warnings.warn(f'dtype={dtype!r}: {slow}', stacklevel=3)
    return half


def _device(device: str | torch.device) -> torch.device:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'device={str(device)!r} cannot be used: {error}') from error
    return torch.device(device)
