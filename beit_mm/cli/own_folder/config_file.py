"""Configs as short files that inherit a shipped one."""

import textwrap
from pathlib import Path
from typing import Any

from mmengine.config import Config

from beit_mm.checkpoints.store import write_atomically

WIDTH = 100
NO_BREAK = '\xa0'  # repr() writes it as an escape


def differences(base: dict, new: dict) -> dict:
    """Return what a child config has to say, so that ``base`` becomes ``new``.

    Dicts are merged key by key; lists are replaced. A dict with another ``type``, or without keys
    that the base has, is replaced as a whole.
    """
    found = {}
    for key, value in new.items():
        if key not in base:
            found[key] = value
        elif isinstance(value, dict) and base[key] != value:
            old = base[key] if isinstance(base[key], dict) else {'type': None}
            is_other = value.get('type') != old.get('type') or set(old) - set(value)
            inner = dict(value, _delete_=True) if is_other else differences(old, value)
            if inner:
                found[key] = inner
        elif value != base[key]:
            found[key] = value
    return found


def write_config(path: Path, leaf: str, base: Config, new: Config, about: str) -> None:
    """Write the config that makes ``new`` of the shipped ``leaf``, which is ``base``."""
    found: dict[str, Any] = differences(base.to_dict(), new.to_dict())
    val, test = 'val_dataloader', 'test_dataloader'
    # What the data sets have is not said again by the variables that they were made of.
    for name in ('train_pipeline', 'val_pipeline'):
        found.pop(name, None)
    steps = found.pop('test_pipeline', None)  # mmseg.apis.inference_model reads it
    is_tested = steps and steps == found.get(test, {}).get('dataset', {}).get('pipeline')
    found.pop('_base_', None)
    names = {key: key for key in found}
    if val in found and (base.get(val), found[val]) == (base.get(test), found.get(test)):
        names[val] = f'{val} = {test}'
        del found[test]
    lines = [
        f'{names[key]} = {render(value, 0, len(names[key]) + 3)}' for key, value in found.items()
    ]
    lines += [f"test_pipeline = {test}['dataset']['pipeline']"] if is_tested else []
    place = str(path).replace('\\', '/').replace('"""', "'''")  # which would end the docstring
    head = f'"""{about}\n\n    beit-mm train {place}\n"""\n\n'
    text = '\n'.join([f"_base_ = 'beit_mm::{leaf}'", *lines])
    write_atomically(path, f'{head}{text}\n'.encode())


def render(value: Any, indent: int, taken: int = 0) -> str:
    """Return the source of a value: on one line where it fits, else a line for each part.

    Args:
        indent: Spaces before the lines that follow.
        taken: Characters before it on its first line.
    """
    if not isinstance(value, dict | list | tuple):
        return repr(value)
    names = value if isinstance(value, dict) else [None] * len(value)
    is_call = isinstance(value, dict) and all(str(name).isidentifier() for name in value)
    left, right = ('dict(', ')') if is_call else '{}' if isinstance(value, dict) else '[]'
    if isinstance(value, tuple):
        left, right = '()' if len(value) != 1 else ('(', ',)')
    parts = []
    for name, part in zip(names, value.values() if isinstance(value, dict) else value, strict=True):
        start = '' if name is None else f'{name}=' if is_call else f'{name!r}: '
        parts.append((start, part))
    flat = left + ', '.join(start + render(part, 0, -1000) for start, part in parts) + right
    if indent + taken + len(flat) < WIDTH:
        return flat
    inner = ' ' * (indent + 4)
    if not is_call and all(isinstance(part, str | int | float) for _, part in parts):
        lines = _fill([start + repr(part) for start, part in parts], inner)
        return f'{left}\n{lines}\n{" " * indent}{right[-1]}'
    lines = [f'{inner}{start}{render(part, indent + 4, len(start) + 1)},' for start, part in parts]
    return '\n'.join([left, *lines, ' ' * indent + right[-1]])


def _fill(items: list[str], indent: str) -> str:
    """Return lines of as many items as fit."""
    solid = ' '.join(f'{item},'.replace(' ', NO_BREAK) for item in items)
    options = dict(initial_indent=indent, subsequent_indent=indent)
    lines = textwrap.fill(solid, WIDTH, break_long_words=False, break_on_hyphens=False, **options)
    return lines.replace(NO_BREAK, ' ')
