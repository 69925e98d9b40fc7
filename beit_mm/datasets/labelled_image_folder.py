import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets.image_folder import find_name, spelled
from beit_mm.datasets.label_table import explain_labels, number_labels, read_label_table
from beit_mm.datasets.unlabelled_image_folder import UnlabelledImageFolder
from beit_mm.registry import DATASETS


@DATASETS.register_module()
class LabelledImageFolder(UnlabelledImageFolder):
    """Images with a class each, for mmpretrain's classifiers: class folders, or a table of labels.

    A sample enters the pipeline as dict(img_path, gt_label, sample_idx). ``metainfo`` has the names
    of the classes.

    Args:
        data_root: Folder of the images. Without ``labels`` the name of the first folder below it is
            the class of an image.
        labels: A CSV file, or a text file with a path and a label in each line; see
            :func:`read_label_table`. Its own path and those in it are relative to ``data_root``; an
            id such as 'a7' is the image 'x/a7.jpg' if no other one has this name. Labels are names,
            or the numbers of ``classes`` from 0. Images that it does not name are left out.
        classes: Names of the classes in the order of their numbers. Without it, names are sorted.
        **kwargs: Of :class:`UnlabelledImageFolder`.

    Raises:
        MissingFileError: ``labels``, or an image that it names, does not exist.
        UserError: A label is no class, an image lies in no class folder, or there is one class.
    """

    METAINFO = dict(dataset_type='labelled_image_folder')

    def __init__(
        self,
        data_root: str,
        labels: str | None = None,
        classes: Sequence[str] | None = None,
        **kwargs,
    ):
        self.labels = None if labels is None else os.path.expanduser(labels)
        self.classes = classes
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        root = Path(self.data_root)
        if self.labels is None:
            labels = self._labels_of_folders()
        else:
            labels = self._with_endings(read_label_table(root / self.labels))
            if not self.classes and not self._metainfo.get('classes'):
                labels = number_labels(labels)
        classes = self._find_classes(labels)
        self._metainfo['classes'] = tuple(classes)
        ids = {name: number for number, name in enumerate(classes)}
        names = {name.casefold(): name for name in ids}
        if twin := next((name for name in ids if names[name.casefold()] != name), None):
            told = f'{root}: {twin!r} and {names[twin.casefold()]!r} are two classes; if they are '
            told += 'one, write their names alike'
            print_log(told, logger='current', level=logging.WARNING)
        if self._is_numbered(labels) and set(labels.values()) - set(ids):
            ids = {str(number): number for number in range(len(classes))}
        unknown = sorted(set(labels.values()) - set(ids))
        numbers = {int(n) for n in labels.values()} if self._is_numbered(labels) else ()
        if unknown:
            raise UserError(
                f'LabelledImageFolder: {unknown[0]!r} is a label, but none of the classes '
                f'{list(classes)}; correct it, or add it to classes'
                + (explain_labels(numbers, len(classes)) if numbers else '')
            )
        if numbers and '0' not in labels.values() and '0' in ids:
            first = min(numbers)
            print_log(
                f'{root / self.labels} has labels from {first} on, and class 0 has no image; if '
                f"{first} is the first class, name them: classes=['{first}', ...]",
                logger='current',
                level=logging.WARNING,
            )
        return self.take_part(
            [
                dict(img_path=os.path.join(self.data_root, name), gt_label=ids[label])
                for name, label in labels.items()
            ]
        )

    def _with_endings(self, table: dict[str, str]) -> dict[str, str]:
        """Return the labels by file names, of which a table may leave out folder and ending."""
        root, labels = self.data_root, {}
        for written, label in table.items():
            name = find_name(root, written)
            if os.path.isabs(name) or name.startswith('.') or '/.' in name or '//' in name:
                name = os.path.relpath(os.path.join(root, name), root)  # one name for a file
            if labels.setdefault(name, label) != label:
                told = f'has the labels {labels[name]!r} and {label!r}'
                raise UserError(f'{Path(root) / self.labels}: {name} {told}')
        missing = {name for name in labels if not os.path.isfile(os.path.join(root, name))}
        files: dict[str, list[str]] = {}
        for name in self.find_names() if missing else ():
            stem = os.path.splitext(name)[0]
            for key in {spelled(stem), spelled(os.path.basename(stem))}:
                files.setdefault(key, []).append(name)
        whole = {name: label for name, label in labels.items() if name not in missing}
        first = next(iter(labels))
        header = ". If the first line has names of columns, call them 'file' and 'label'"
        for name in sorted(missing):
            found = files.get(spelled(name), [])
            if len(found) != 1 or found[0] in whole:
                others = f'; {", ".join(found[:3])} may be meant' if found else ''
                raise MissingFileError(
                    f'{Path(root) / self.labels} names {name!r}, which is not in '
                    f'data_root={root!r}{others}. Paths are relative to it; the ending '
                    'may be left out where one file alone fits' + header * (name == first)
                )
            whole[found[0]] = labels[name]
        return whole

    def _labels_of_folders(self) -> dict[str, str]:
        names = self.find_names()
        loose = [name for name in names if '/' not in name]
        if loose:
            raise UserError(
                f'LabelledImageFolder.data_root={self.data_root!r}: {loose[0]} and '
                f'{len(loose) - 1} more images lie in no class folder; expected '
                'data_root/CLASS/image.png, or a table of labels (labels=...)'
            )
        return {name: spelled(name.split('/', 1)[0]) for name in names}

    def _find_classes(self, labels: dict[str, str]) -> Sequence[str]:
        given = self.classes or self._metainfo.get('classes')
        if given is None and self._is_numbered(labels):
            given = [str(number) for number in range(max(map(int, labels.values())) + 1)]
        classes = sorted(set(labels.values())) if given is None else [*given]
        if len(classes) < 2:
            raise UserError(
                f'LabelledImageFolder.data_root={self.data_root!r} has one class, {classes[0]!r}; '
                'a classification needs two or more'
            )
        return classes

    def _is_numbered(self, labels: dict[str, str]) -> bool:
        """Return whether the labels of a table are the numbers of the classes."""
        return self.labels is not None and all(label.isdecimal() for label in labels.values())
