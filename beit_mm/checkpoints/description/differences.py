from collections.abc import Callable, Iterator, Mapping

from beit_mm.checkpoints.description.architecture import plain_config
from beit_mm.contracts import Finding, UserError
from beit_mm.contracts.config_walk import is_number
from beit_mm.contracts.digest import sourceless

# A difference of normalization below this share of the standard deviation is a rounded number.
TOLERANCE = 0.01
# 65535 / 255: the same normalization of images with 16 and with 8 bits.
BIT_DEPTHS = (1.0, 257.0, 1 / 257)
NUMBERS = ('vocab_size', 'stride', 'in_channels')
OPPOSITE_ORDERS = ({'RGB', 'BGR'}, {'as loaded', 'reversed'})


class StageMismatchError(UserError):
    """A checkpoint does not fit the config that loads it."""


def differences(
    found: Mapping,
    here: Mapping,
    source: str,
    part: str = 'model',
    resumes: bool = False,
    preprocessor: str = 'data_preprocessor',
    weights_sha256: Callable[[], str | None] = lambda: None,
) -> Iterator[Finding]:
    """Yield errors and warnings where a checkpoint was trained with something else than is here.

    Args:
        found: The description of the checkpoint.
        here: Facts of the model that loads it, see ``here_of``.
        source: Name of the checkpoint, for the messages.
        part: What loads it: ``model``, ``backbone`` or ``tokenizer``.
        resumes: The checkpoint's run goes on.
        preprocessor: The key of the preprocessor in the config.
        weights_sha256: Returns the digest of the tokenizer's weights before the checkpoint is
            loaded, or None if they are random.
    """
    if part == 'tokenizer':
        if 'tokenizer' in found and 'tokenizer' in here:
            yield from _tokenizer(found['tokenizer'], here['tokenizer'], source)
            yield from _token_images(found, here, source, preprocessor)
        return
    if part == 'model' or 'backbone' in found:
        yield from _images(found.get('images'), here.get('images'), source, preprocessor)
    yield from _backbone(found.get('backbone'), here.get('backbone'), source, resumes)
    if part == 'model' and 'tokenizer' in found and 'tokenizer' in here:
        theirs, ours = found['tokenizer'], here['tokenizer']
        yield from _tokenizer(theirs, ours, source, resumes, is_model='backbone' not in here)
        yield from _weights(theirs.get('weights_sha256'), weights_sha256(), source, resumes)
        if theirs.get('images') != found.get('images'):
            yield from _token_images(found, here, source, preprocessor)


def _backbone(found, here, source: str, resumes: bool) -> Iterator[Finding]:
    if not isinstance(found, Mapping) or not isinstance(here, Mapping):
        return
    for name, meaning in (('patch_size', 'patches of {} pixels'), ('in_channels', '{} channels')):
        theirs, ours = found.get(name), here.get(name)
        if name == 'in_channels' and here.get('adapts_channels') and not resumes:
            continue
        if _differ(theirs, ours):
            key = f'model.backbone.{name}'
            more = ', or say with adapt_channels how they correspond' * (name == 'in_channels')
            yield Finding.error(
                key,
                f'{ours}, but the backbone in {source} was trained with {meaning.format(theirs)}; '
                f'set {key}={theirs}{more}',
            )


def _tokenizer(
    found: Mapping, here: Mapping, source: str, resumes: bool = False, is_model: bool = False
) -> Iterator[Finding]:
    """Compare class, vocabulary, stride, channels, and options that both configs give."""
    key = 'model' if is_model else 'model.tokenizer'
    for name in NUMBERS:
        theirs, ours = found.get(name), here.get(name)
        if _differ(theirs, ours):
            yield Finding.error(
                f'{key}.{name}',
                f'{ours}, but the tokenizer in {source} has {name}={theirs}; set {key}.{name}='
                f'{theirs}, or take the checkpoint of another tokenizer',
            )
    theirs, ours = found.get('type'), here.get('type')
    if isinstance(theirs, str) and ours and theirs not in here.get('bases', [ours]):
        yield Finding(
            'error' if resumes else 'warning',
            f'{key}.type',
            f'{ours}, but the tokenizer in {source} is a {theirs}; set {key}.type={theirs!r}, or '
            'take the checkpoint of another tokenizer',
        )
        return
    theirs, ours = found.get('options'), here.get('options')
    if is_model or not isinstance(theirs, Mapping) or not isinstance(ours, Mapping):
        return
    for name in sorted(set(theirs) & set(ours) - set(NUMBERS)):
        # Checkpoints of before say where the weights of a part came from.
        if _in_full(theirs[name]) != _in_full(ours[name]):
            yield Finding.warning(
                f'{key}.{name}',
                f'{ours[name]!r}, but the tokenizer in {source} has {theirs[name]!r}; its tokens '
                'may be others',
            )


def _in_full(option):
    """Return an option with the scopes and defaults of its parts, which a config may leave out."""
    return plain_config(sourceless(option), 'beit_mm')


def _weights(theirs, ours: str | None, source: str, resumes: bool) -> Iterator[Finding]:
    if not isinstance(theirs, str) or ours is None or theirs == ours:
        return
    advice = 'The weights of the checkpoint replace those of this file'
    if resumes:
        advice = (
            'The checkpoint holds its tokenizer, so going on would not use yours. Name the file '
            'that the run began with, or begin anew (resume=False)'
        )
    yield Finding(
        'error' if resumes else 'warning',
        'model.tokenizer.init_cfg',
        f'{source} was trained with the tokens of another tokenizer than the one that this names: '
        f'the SHA-256 of its weights is {theirs[:16]}..., here it is {ours[:16]}.... {advice}',
    )


def _token_images(found, here, source: str, preprocessor: str) -> Iterator[Finding]:
    """Compare what the tokenizer sees: [0, 1] of the same channels, in its training and here."""
    theirs, ours = found['tokenizer'].get('images'), here['tokenizer'].get('images')
    name = 'token_scale' if 'backbone' in here else 'std'
    yield from _images(theirs, ours, f'the tokenizer in {source}', preprocessor, (name,))


def _images(
    theirs, ours, source: str, preprocessor: str, names: tuple[str, ...] = ('mean', 'std')
) -> Iterator[Finding]:
    if not isinstance(theirs, Mapping) or not isinstance(ours, Mapping):
        return
    factor = _factor(theirs, ours)
    if factor is not None and factor not in BIT_DEPTHS:
        units = ' (one of them is in units of [0, 1], the other in those of the pixels)'
        keys = ' and '.join(f'{preprocessor}.{name}' for name in names)
        advice = f'set {keys} to those of the checkpoint'
        if names == ('token_scale',):  # for images of other bits, another scale is right
            advice = f'if the images have values like those, set {keys}={max(theirs["std"]):g}, '
            advice += 'else to the largest value that they have'
        yield Finding.warning(
            f'{preprocessor}.{names[0]}',
            f'{source} was trained with {_text(theirs)}, but here it gets {_text(ours)}'
            f'{units if factor else ""}; {advice}',
        )
    orders = [images.get('channel_order') for images in (theirs, ours)]
    if all(isinstance(order, str) for order in orders) and set(orders) in OPPOSITE_ORDERS:
        key = f'{preprocessor}.{ours.get("order_key", "bgr_to_rgb")}'
        yield Finding.warning(
            key,
            f'{source} was trained with the channels {orders[0]}, but here they are {orders[1]}; '
            f'change {key}',
        )


def _factor(theirs: Mapping, ours: Mapping) -> float | None:
    """Return by how much the pixels of ``ours`` are multiplied, seen from ``theirs``.

    0 means that no number explains the difference; None that the two cannot be compared, for
    example since there are other channels.
    """
    values = [images.get(name) for images in (theirs, ours) for name in ('mean', 'std')]
    if not all(isinstance(v, list) and v and all(map(is_number, v)) for v in values):
        return None
    length = max(map(len, values))
    if any(len(v) not in (1, length) for v in values):
        return None
    m1, s1, m2, s2 = (v * length if len(v) == 1 else v for v in values)
    if min(s1 + s2) <= 0:
        return None
    for factor in (*BIT_DEPTHS, 255.0, 1 / 255):
        if all(
            abs(factor * a - b) <= TOLERANCE * d and abs(factor * c - d) <= TOLERANCE * d
            for a, c, b, d in zip(m1, s1, m2, s2, strict=True)
        ):
            return factor
    return 0.0


def _text(images: Mapping) -> str:
    return (
        f'mean={images["mean"]} and std={images["std"]} '
        f'(black and white become {images.get("range")})'
    )


def _differ(theirs, ours) -> bool:
    """Return whether both are integers, and not the same."""
    are_integers = all(isinstance(v, int) and not isinstance(v, bool) for v in (theirs, ours))
    return are_integers and theirs != ours
