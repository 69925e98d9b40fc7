"""``set_sizes`` of a config: another image or patch size, and all that depends on it."""

from collections.abc import Iterable, Iterator, Mapping

from mmengine.config import Config

from beit_mm.contracts.config_walk import class_name, walk_pipelines, walk_values
from beit_mm.contracts.constructor import class_of, with_defaults
from beit_mm.contracts.errors import UserError
from beit_mm.registry import MODELS

KEY = 'set_sizes'
# Arguments of transforms that are pixels of the image that the encoder sees.
OF_TRANSFORM = dict(
    TwoViewResizedCrop=('size', 'token_size'),
    LoadReducedImage=('size',),
    RandomResizedCrop=('scale', 'crop_size'),
    ResizeEdge=('scale',),
    Resize=('scale',),
    ResizeShortestEdge=('scale',),
    ResizeToMultiple=(),
    RandomResize=('scale',),
    RandomChoiceResize=('scales',),
    CenterCrop=('crop_size',),
    RandomCrop=('crop_size',),
    Pad=('size',),
)
SIZES = ('size', 'scale', 'crop_size', 'input_size')  # of other transforms


def apply_sizes(config: Config) -> None:
    """Do what ``set_sizes`` of a config says, and remove it.

    Raises:
        UserError: It has other keys than image and patch; see also :func:`set_sizes`.
    """
    sizes = config.pop(KEY, None) or {}
    if not isinstance(sizes, Mapping) or set(sizes) - {'image', 'patch'}:
        raise UserError(f'{KEY}={sizes!r}; expected a dict with image and patch, or one of them')
    if sizes:
        set_sizes(config, **sizes)


def set_sizes(config: Config, image: int | None = None, patch: int | None = None) -> None:
    """Train on images of ``image`` x ``image`` pixels, in patches of ``patch`` x ``patch``.

    Changes the encoder, the views and crops of all pipelines, the grid of the masks, the view of
    the tokenizer, which makes one token for each patch, and the windows of a segmentation. Of a
    tokenizer that is trained there is ``image`` alone. Masks keep their share of the patches.

    Raises:
        UserError: The images of the config have no one size, the patches do not divide it, or the
            encoder or a transform is one whose sizes are not known.
    """
    for name, value in dict(image=image, patch=patch).items():
        if value is not None and (type(value) is not int or value < 1):
            raise UserError(f'{KEY}.{name}={value!r}: expected a number of pixels')
    backbone = config.model.get('backbone')
    taken = _arguments(backbone)
    has_patches = isinstance(taken.get('patch_size'), int)
    before = _image_size(config)
    image = before if image is None else image
    if not has_patches and (backbone or patch is not None):
        raise UserError(f'{KEY}: model.backbone has no patch_size, by which the grid is known')
    patches = (taken['patch_size'], patch or taken['patch_size']) if has_patches else (1, 1)
    if image % patches[1]:
        near = max(image // patches[1], 1) * patches[1]
        raise UserError(
            f'{KEY}: patches of {patches[1]} pixels do not divide images of {image}; take '
            f'image={near} or image={near + patches[1]}'
        )
    grids = before // patches[0], image // patches[1]
    if (image, patches[1]) == (before, patches[0]):
        return
    if has_patches:
        sizes = dict(img_size=image, patch_size=patches[1])
        backbone.update({name: size for name, size in sizes.items() if name in taken})
    elif 'img_size' in config.model:
        config.model.img_size = image
    used = [steps for _, steps in walk_pipelines(config)]
    for step in _parts([key for key in config if _is_read(key, config[key], used)], config):
        _set_step(step, before, image, grids)
        if step.get('size_divisor') == patches[0]:
            step['size_divisor'] = patches[1]
    for preprocessor in (config.get('data_preprocessor'), config.model.get('data_preprocessor')):
        _scale(preprocessor, ('size',), image / before)
        test = (preprocessor or {}).get('test_cfg') or {}
        if test.get('size_divisor') == patches[0]:
            test['size_divisor'] = patches[1]
    _scale(config.model.get('test_cfg'), ('crop_size', 'stride'), image / before)


def _arguments(backbone) -> dict:
    """Return what an encoder is built with: what the config says, and defaults of its class."""
    if not isinstance(backbone, Mapping):
        return {}
    if {'img_size', 'patch_size'} <= set(backbone):
        return dict(backbone)
    cls = class_of(backbone, MODELS)
    return with_defaults(cls, backbone) if isinstance(cls, type) else dict(img_size=0) | backbone


def _image_size(config: Config) -> int:
    """Return the pixels of a side of the images of a config."""
    parts = (config.model.get('backbone'), config.model)
    crops = [
        part for part in _parts(['train_dataloader'], config) if class_name(part) in OF_TRANSFORM
    ]
    found = [part['img_size'] for part in parts if isinstance(part, Mapping) and 'img_size' in part]
    size = next(iter([*found, *(step['size'] for step in crops if 'size' in step)]), None)
    sides = {size} if isinstance(size, int) else set(size or ())
    if len(sides) != 1:
        raise UserError(
            f'{KEY}: no single size of the images was found ({size}); set each size yourself'
        )
    return sides.pop()


def _parts(keys: Iterable[str], config: Config) -> Iterator[dict]:
    """Yield the parts with a type below these keys of a config, each once."""
    values = [value for key in keys for _, value in walk_values([config.get(key)])]
    parts = [value for value in values if isinstance(value, Mapping) and 'type' in value]
    yield from {id(part): part for part in parts}.values()


def _is_read(key: str, value, used: list) -> bool:
    """Return whether transforms are below a key: of no pipeline that a child config replaced."""
    is_variable = key.endswith('_pipeline') and not key.startswith(('test', 'tta'))
    return key not in ('model', 'data_preprocessor') and (not is_variable or value in used)


def _set_step(step: dict, before: int, image: int, grids: tuple[int, int]) -> None:
    factor = image / before
    if 'grid' in step:
        share = (grids[1] / grids[0]) ** 2
        step['grid'] = grids[1]
        for name in ('num_masked', 'min_block', 'max_block'):
            if step.get(name):
                step[name] = max(round(step[name] * share), 1)
    elif class_name(step) == 'TwoViewResizedCrop':  # the token grid is the patch grid
        _scale(step, ('size',), factor)
        _scale(step, ('token_size',), grids[1] / grids[0])
    elif class_name(step) in OF_TRANSFORM:
        _scale(step, OF_TRANSFORM[class_name(step)], factor)
    elif known := [name for name in SIZES if _is_size(step.get(name), before)]:
        raise UserError(
            f'{KEY}: {class_name(step)}.{known[0]} is {before}, too; set all sizes yourself'
        )


def _is_size(value, side: int) -> bool:
    return value == side or isinstance(value, list | tuple) and [*value] == [side, side]


def _scale(values: Mapping | None, names: tuple[str, ...], factor: float) -> None:
    for name in names:
        if (values or {}).get(name) is not None:
            values[name] = _scaled(values[name], factor)


def _scaled(size, factor: float):
    """Return pixels, or several in a list or tuple, times a factor; what is no size stays."""
    if isinstance(size, list | tuple):
        return type(size)(_scaled(side, factor) for side in size)
    return max(round(size * factor), 1) if type(size) is int and size > 0 else size
