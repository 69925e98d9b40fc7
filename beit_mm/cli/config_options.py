"""``--cfg-options KEY=VALUE``, with messages where MMEngine has tracebacks."""

import re
from argparse import ArgumentParser, Namespace
from typing import Any

from mmengine.config import Config, DictAction

from beit_mm.contracts import UserError
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.structure import BOOLEANS

SPACES = re.compile(r'(?<=[^ ,(\[]) +(?=[^ ,)\]])')  # inside of a text
MARK = '\ue000'  # for private use, in no text


class ConfigOptions(DictAction):
    """``DictAction`` that ends the program with a message for an option that cannot be read."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        for text in values:
            key, sign, value = text.partition('=')
            if not key or not sign:
                parser.error(f'{option_string}: {text!r} is not KEY=VALUE')
            if value.startswith('dict('):
                parser.error(
                    f'{option_string} {text}: a dict is given key by key, {key}.NAME=VALUE; with '
                    f'{key}._delete_=True it takes the place of what the config has there'
                )
            try:
                super().__call__(parser, namespace, [text], option_string)
            except RecursionError:
                parser.error(f'{option_string} {text}: its brackets do not match')
            except (AssertionError, ValueError) as error:
                parser.error(f'{option_string} {text}: {error}')

    @staticmethod
    def _parse_iterable(text: str) -> Any:
        """Return the value of a text; MMEngine would drop all spaces, those of names too."""
        marked = SPACES.sub(lambda spaces: MARK * len(spaces[0]), text.strip())
        return _restore(DictAction._parse_iterable(marked))


def _restore(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_restore, value))
    return value.replace(MARK, ' ') if isinstance(value, str) else value


def merge_options(config: Config, options: dict) -> None:
    """Merge ``--cfg-options`` into ``config``.

    Raises:
        UserError: An option goes through something that has no such part.
    """
    whole = config.to_dict()
    for key in options:
        for other in options:
            if other.startswith(f'{key}.'):
                raise UserError(f'--cfg-options has both {key} and {other}; give one of them')
        _check(whole, key, options)
        _check_boolean(value_at(whole, key), key, options[key])
    config.merge_from_dict(options)


def _check(value, key: str, options: dict) -> None:
    parts = key.split('.')
    for number, part in enumerate(parts):
        place = '.'.join(parts[:number])
        if isinstance(value, list):
            if not part.isdigit() or int(part) >= len(value):
                entries = ', '.join(f'{i} {_name(entry)}' for i, entry in enumerate(value))
                raise UserError(
                    f'--cfg-options {key}: {place} is a list, {part!r} is not the number of one of '
                    f'its {len(value)} entries: {entries}'
                )
            value = value[int(part)]
            if number == len(parts) - 1 or not isinstance(value, (dict, list)):
                raise UserError(
                    f'--cfg-options {key}: an entry of a list cannot be replaced, only the keys of '
                    f'one that is a dict ({place}.{part}.NAME=VALUE); else give all of {place}'
                )
        elif isinstance(value, dict):
            if part not in value:
                return
            value = value[part]
        elif f'{place}._delete_' in options:
            return
        else:
            raise UserError(
                f'--cfg-options {key}: {place}={value!r} in the config is not a dict and has no '
                f'{part!r}; add {place}._delete_=True to put a dict in its place'
            )


def _check_boolean(value, key: str, given) -> None:
    """Refuse ``no`` or ``off`` for what is True or False in the config: text counts as True."""
    if isinstance(value, bool) and isinstance(given, str) and given.lower() in BOOLEANS:
        raise UserError(
            f'--cfg-options {key}={given}: {given!r} is text, which counts as True; write '
            f'{key}={BOOLEANS[given.lower()]}'
        )


def _name(entry) -> str:
    return str(entry.get('type', 'dict')) if isinstance(entry, dict) else repr(entry)
