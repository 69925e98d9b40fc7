from collections import Counter
from collections.abc import Iterable

import torch.nn as nn


def names_of(model: nn.Module) -> dict[int, str]:
    """Return the name of each parameter of the model by the parameter's ``id``."""
    return {id(parameter): name for name, parameter in model.named_parameters()}


def grouped(names: Iterable[str], among: Iterable[str]) -> list[str]:
    """Name parameters in few words: a module stands for all that it has ``among`` them.

    ``['a.x', 'a.y', 'b.x']`` among ``['a.x', 'a.y', 'b.x', 'b.y']`` are
    ``['a (2 tensors)', 'b.x']``.
    """
    names = list(names)
    found, total = (Counter(p for n in group for p in _prefixes(n)) for group in (names, among))
    words = {}
    for name in names:
        module = next(prefix for prefix in _prefixes(name) if found[prefix] == total[prefix])
        if found[module] == 1:
            words[name] = name
        else:
            words[module] = f'{module} ({found[module]} tensors)'
    return list(words.values())


def _prefixes(name: str) -> list[str]:
    parts = name.split('.')
    return ['.'.join(parts[:length]) for length in range(1, len(parts) + 1)]
