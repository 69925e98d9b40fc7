"""Names of tensors that differ between versions of the code."""

from collections.abc import Mapping


def renamed(name: str, names: Mapping[str, str]) -> str:
    """Return the new one of ``name`` in ``names``: old -> new, or prefix with a point -> prefix."""
    for old, new in names.items():
        if name == old or (old.endswith('.') and name.startswith(old)):
            return new + name[len(old) :]
    return name


def rename_tensors(state: dict, prefix: str, names: Mapping[str, str]) -> None:
    """Rename the entries of ``state`` under ``prefix`` in place; see :func:`renamed`."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + renamed(name[len(prefix) :], names)] = state.pop(name)
