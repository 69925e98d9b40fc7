"""The classes that a config names, looked up as MMEngine does."""

import ast
import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from mmengine.registry import Registry

from beit_mm.contracts import Finding
from beit_mm.contracts.constructor import constructor_parameters

SCOPES = ('beit_mm', 'mmpretrain', 'mmseg')
# Packages whose classes build what a config gives them in the ways that are checked here.
KNOWN_PACKAGES = (*SCOPES, 'mmengine', 'mmcv')
# By their signature they take any argument, but they refuse all that their parents do not take.
REFUSE_OTHERS = ('AtomicCheckpointHook',)


def find_class(registry: Registry, name, scope: str):
    """Return the class that a ``type`` names in ``scope``, None if there is none.

    A name with another prefix than the known scopes is looked up as MMEngine does: as a scope or as
    the path of a module.
    """
    if not isinstance(name, str):
        return name
    owner, _, bare = name.rpartition('.')
    if owner and owner not in (*SCOPES, 'mmengine'):
        return _get(registry, name)
    return _find(registry, bare, owner or scope)


def class_of(registry: Registry, part, scope: str):
    """Return the class of a part, None if it is no config of one or its class is not known."""
    if not isinstance(part, Mapping) or not part.get('type'):
        return None
    return find_class(registry, part['type'], part.get('_scope_') or scope)


def takes_arguments(cls) -> set[str] | None:
    """Return the names that a class or function takes; None if it takes any, or does not say."""
    if inspect.isclass(cls):
        parameters, takes_any = constructor_parameters(cls)
        return None if takes_any and cls.__name__ not in REFUSE_OTHERS else set(parameters)
    try:
        parameters = inspect.signature(cls).parameters
    except (ValueError, TypeError):
        return None
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return None if takes_any else set(parameters)


def flags_of(cls) -> set[str]:
    """Return the arguments of a class that are True or False by default."""
    if not inspect.isclass(cls):
        return set()
    parameters = constructor_parameters(cls)[0].values()
    return {p.name for p in parameters if isinstance(p.default, bool)}


def package_of(cls) -> str:
    """Return the package in which a class or function is defined; empty if it does not say."""
    module = inspect.getmodule(cls)
    return module.__name__.split('.')[0] if module else ''


def lookalikes(registry: Registry, cls, name: str, scope: str) -> list[str]:
    """Return the scopes that have an own class ``name``, if ``cls`` is not that of ``scope``."""
    if _is_own(cls, scope):
        return []
    return [owner for owner in SCOPES if name in _own_names(registry, owner)]


def explain_unknown(registry: Registry, name: str, scope: str) -> Finding | str:
    """Return why a name is in no registry, or the finding that its package is missing."""
    owner, _, bare = name.rpartition('.')
    if owner and owner not in (*SCOPES, 'mmengine'):
        close = get_close_matches(owner, SCOPES, 1, 0.7)
        if close:
            return f"there is no scope or module {owner!r}; did you mean '{close[0]}.{bare}'?"
        package = owner.split('.')[0]
        if not _is_installed(package):
            message = f'the config needs this package; pip install {package}'
            return Finding.error(package, message)
        return f'there is no {name!r}: neither a scope nor a module that can be imported has it'
    scope = owner or scope
    return (
        _explain_missing(scope)
        or _explain_not_imported(registry, bare, scope)
        or _unknown_name(registry, bare, scope)
    )


@cache
def optional_packages(module: str) -> tuple[str, ...]:
    """Return the packages that a module does without, and that are not installed.

    Its classes may lack their parents, and with them what they take.
    """
    with suppress(Exception):  # a module may have no source
        missing = []
        for node in ast.walk(ast.parse(Path(import_module(module).__file__).read_text('utf-8'))):
            for step in node.body if isinstance(node, ast.Try) else ():
                names = [alias.name for alias in step.names] if isinstance(step, ast.Import) else []
                names += [step.module or ''] if isinstance(step, ast.ImportFrom) else []
                missing += [name.split('.')[0] for name in names]
        return tuple(name for name in dict.fromkeys(missing) if name and not _is_installed(name))
    return ()


def _is_installed(package: str) -> bool:
    with suppress(ImportError, ValueError):
        return find_spec(package) is not None
    return False


def _get(registry: Registry, name: str):
    with suppress(Exception):  # whatever the import of a user's module raises
        found = registry.get(name)
        return found if callable(found) else None  # it may be a module
    return None


def _find(registry: Registry, name: str, scope: str):
    """Return what ``name`` is in ``scope``: in the package's registry, else in its parent's."""
    return _get(_child(registry, scope) or registry, name)


def _child(registry: Registry, scope: str) -> Registry | None:
    """Import a package and return its registry below MMEngine's."""
    if scope in SCOPES:
        with suppress(ImportError):
            import_module(f'{scope}.registry')
    child = registry._search_child(scope)
    if child is not None:
        with suppress(ImportError):  # told by _explain_missing
            child.import_from_location()
    return child


def _explain_missing(scope: str) -> Finding | None:
    """Return an error if the package of a scope cannot be imported, the same for all its names."""
    if scope not in SCOPES:
        return None
    try:
        import_module(f'{scope}.models')
    except ImportError as error:
        message = f'the config needs this package ({error}): pip install "beit_mm[{scope}]"'
        return Finding.error(scope, message)
    return None


def _explain_not_imported(registry: Registry, name: str, scope: str) -> str | None:
    """Return why a class that a package has is in none of its registries."""
    if scope not in SCOPES or name not in (files := _class_files(scope)):
        return None
    return (
        f"{scope} has '{name}' in {files[name]}, but not in its registry {registry.name!r}; a "
        f'package that {scope} needs for it is not installed, or its module is named in '
        'custom_imports'
    )


@cache
def _class_files(package: str) -> dict[str, str]:
    """Return the files in which a package defines its classes."""
    root, found = Path(import_module(package).__file__).parent, {}
    for path in sorted(root.rglob('*.py')):
        for name in re.findall(r'^class (\w+)', path.read_text('utf-8'), re.MULTILINE):
            found.setdefault(name, path.relative_to(root.parent).as_posix())
    return found


def _names(registry: Registry, scope: str) -> set[str]:
    """Return the names in a package's own registry."""
    child = _child(registry, scope)
    return set(child.module_dict) if child is not None and child is not registry else set()


def _own_names(registry: Registry, scope: str) -> set[str]:
    """Return the names of a package's own classes, without others that it registers again."""
    child = _child(registry, scope)
    return {name for name in _names(registry, scope) if _is_own(child.module_dict[name], scope)}


def _is_own(cls, scope: str) -> bool:
    return package_of(cls) in (scope, 'torch')


def _unknown_name(registry: Registry, name: str, scope: str) -> str:
    elsewhere = [s for s in SCOPES if s != scope and _find(registry, name, s) is not None]
    if elsewhere:
        return f"{scope} has no '{name}'; did you mean '{elsewhere[0]}.{name}'?"
    known = set(registry.module_dict).union(*(_names(registry, s) for s in SCOPES))
    close = get_close_matches(name, known, 1, 0.6)
    advice = f"; did you mean '{close[0]}'?" if close else '; is it imported (custom_imports)?'
    return f"{scope} has no '{name}' in its registry {registry.name!r}{advice}"
