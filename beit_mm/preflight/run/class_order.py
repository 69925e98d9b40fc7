"""Whether the data sets of a run, and what it loads, mean the same class by the same number."""

import re
from collections.abc import Iterator, Mapping, Sequence

from beit_mm.contracts import Finding
from beit_mm.contracts.sample_source import class_names, leaf_datasets


def check_class_order(datasets: Mapping[str, object]) -> Iterator[Finding]:
    """Yield differences of classes between data sets, and between their names and folders.

    Args:
        datasets: By the name of their dataloader, the training's first.
    """
    for key, dataset in datasets.items():
        for part in leaf_datasets(dataset):
            yield from _check_folders(part, f'{key}.dataset')
    named = {key: class_names(dataset) for key, dataset in datasets.items()}
    named = {key: [*names] for key, names in named.items() if names is not None}
    first = next(iter(named), None)
    for key, names in named.items():
        if message := describe_shift(named[first], names):
            yield Finding.error(f'{key}.dataset', f'{message}, as {first}.dataset has it')


def describe_shift(here: Sequence[str], there: Sequence[str]) -> str | None:
    """Return how classes of a second list have other numbers than in the first, None if not."""
    places: dict[str, list[int]] = {}  # two classes of ImageNet are called crane
    for number, name in enumerate(here):
        places.setdefault(name, []).append(number)
    moved = [
        (number, name, places[name][0])
        for number, name in enumerate(there)
        if name in places and number not in places[name]
    ]
    if moved:
        missing = [name for name in here if name not in there]
        added = [name for name in there if name not in here]
        number, name, right = moved[0]
        why = [f'it lacks {", ".join(map(repr, missing[:5]))}'] if missing else []
        why += [f'{", ".join(map(repr, added[:5]))} is new in it'] if added else []
        return (
            f'class {number} is {name!r}, which should be {right}'
            + (f' ({"; ".join(why)}: an empty folder keeps the numbers)' if why else '')
            + '; give all data sets the same classes in the same order'
        )
    other = [(n, a, b) for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b]
    if other:
        number, right, name = other[0]
        return f'class {number} is {name!r}, which should be {right!r}; rename its folder or class'
    return None


def _check_folders(dataset, key: str) -> Iterator[Finding]:
    """Compare the names of a data set with the folders from which it takes its labels."""
    folders, names = vars(dataset).get('folder_to_idx'), class_names(dataset)
    if not isinstance(folders, Mapping) or not names or vars(dataset).get('ann_file'):
        return
    in_order = sorted(folders, key=folders.get)
    plain = [_plain(name) for name in in_order]
    plain = in_order if len({*plain}) < len(plain) else plain  # A beside a
    for number, name in enumerate(names):
        found = name if plain is in_order else _plain(name)
        if found in plain and plain.index(found) != number:
            right = plain.index(found)
            message = (
                f'class {number} is {name!r}, but its folder {in_order[right]!r} has the number '
                f'{right}; write the names in the order of the folders, {", ".join(in_order[:20])}'
            )
            yield Finding.error(f'{key}.metainfo.classes', message)
            return


def _plain(name: str) -> str:
    """Return a name without what folders and names of one class often differ in."""
    return re.sub(r'[\W_]', '', name).casefold()
