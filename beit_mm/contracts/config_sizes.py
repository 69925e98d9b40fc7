"""``set_sizes`` of a config: another image or patch size, and all that depends on it."""

from collections.abc import Iterable, Iterator, Mapping

from mmengine.config import Config

from beit_mm.contracts.errors import UserError

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
    CenterCrop=('crop_size',),
    RandomCrop=('crop_size',),
    Pad=('size',),
)


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
        UserError: The images of the config have no one size, or the patches do not divide it.
    """
    for name, value in dict(image=image, patch=patch).items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UserError(f'{KEY}.{name}={value!r}: expected a number of pixels')
    backbone = config.model.get('backbone')
    has_patches = isinstance(backbone, Mapping) and 'patch_size' in backbone
    before = _image_size(config)
    image = before if image is None else image
    if patch is not None and not has_patches:
        raise UserError(f'{KEY}.patch={patch}: model.backbone has no patch_size')
    patches = (backbone['patch_size'], patch or backbone['patch_size']) if has_patches else (1, 1)
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
        backbone.update(img_size=image, patch_size=patches[1])
    elif 'img_size' in config.model:
        config.model.img_size = image
    for step in _steps([key for key in config if key != 'model'], config):
        _set_step(step, image / before, grids)
        if step.get('size_divisor') == patches[0]:
            step['size_divisor'] = patches[1]
    for preprocessor in (config.get('data_preprocessor'), config.model.get('data_preprocessor')):
        _scale(preprocessor, ('size',), image / before)
    _scale(config.model.get('test_cfg'), ('crop_size', 'stride'), image / before)


def _image_size(config: Config) -> int:
    """Return the pixels of a side of the images of a config."""
    parts = (config.model.get('backbone'), config.model)
    crops = [step for step in _steps(['train_dataloader'], config) if 'size' in step]
    found = [part['img_size'] for part in parts if isinstance(part, Mapping) and 'img_size' in part]
    size = next(iter([*found, *(step['size'] for step in crops)]), None)
    sides = {size} if isinstance(size, int) else set(size or ())
    if len(sides) != 1:
        raise UserError(f'{KEY}: the images of this config have no one size ({size}); change each')
    return sides.pop()


def _steps(keys: Iterable[str], config: Config) -> Iterator[dict]:
    """Yield the transforms below these keys of a config, in whatever holds them, each once."""
    found, left = {}, [config.get(key) for key in keys]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            if _name(value) in OF_TRANSFORM or {'type', 'grid'} <= value.keys():
                found[id(value)] = value
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
    yield from found.values()


def _name(step: Mapping) -> str:
    return str(step.get('type')).split('.')[-1]


def _set_step(step: dict, factor: float, grids: tuple[int, int]) -> None:
    if 'grid' in step:
        share = (grids[1] / grids[0]) ** 2
        step['grid'] = grids[1]
        for name in ('num_masked', 'min_block', 'max_block'):
            if step.get(name):
                step[name] = max(round(step[name] * share), 1)
    elif _name(step) == 'TwoViewResizedCrop':  # the token grid is the patch grid
        _scale(step, ('size',), factor)
        _scale(step, ('token_size',), grids[1] / grids[0])
    else:
        _scale(step, OF_TRANSFORM[_name(step)], factor)


def _scale(values: Mapping | None, names: tuple[str, ...], factor: float) -> None:
    for name in names:
        size = (values or {}).get(name)
        if isinstance(size, int):
            values[name] = max(round(size * factor), 1)
        elif isinstance(size, list | tuple) and all(isinstance(side, int) for side in size):
            values[name] = type(size)(max(round(side * factor), 1) for side in size)
