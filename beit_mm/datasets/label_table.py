import logging
import math
import re
from collections.abc import Collection
from pathlib import Path

from mmengine.logging import print_log

from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets.image_folder import (
    IMAGE_EXTENSIONS,
    OTHER_IMAGES,
    read_lines,
    read_rows,
    spelled,
)

WHOLE = re.compile(r'-?\d+(\.0*)?')
NUMBER = re.compile(r'[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?', re.IGNORECASE)
FRACTION = re.compile(r'[-+]?\d*[.,]\d*[1-9]\d*')
MISSING = ('nan', 'null', 'n/a', '<na>')  # how tables write that there is no label

ENDINGS = (*IMAGE_EXTENSIONS, *OTHER_IMAGES)
MARKS = re.compile(r'[\W_]')
# Words of a first line that is a header, without MARKS: over the images, over the labels; the first
# one counts.
FILES = (
    *('file', 'filename', 'filepath', 'image', 'imagename', 'imagepath', 'imgpath', 'path'),
    *('name', 'imageid', 'id'),
)
LABELS = ('label', 'labels', 'class', 'classname', 'category', 'target', 'classid', 'labelid')


def read_label_table(path: str | Path) -> dict[str, str]:
    """Return the label of each image of a text file, as it stands there.

    A ``.csv`` file has a column of image paths and one of labels, separated by commas, semicolons
    or tabs. With a header such as ``file,width,label`` the names say which; without one they are
    the first two. More columns are ignored. In any other file a line is a path, a space and a
    label.

    Raises:
        MissingFileError: There is no such file.
        UserError: A line has no label, or an image has two different ones; the message names it.
            A header of more than two columns has none for the labels.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f'labels={str(path)!r}: there is no such file')
    is_table = path.suffix.lower() in ('.csv', '.tsv')
    rows = _read_csv(path) if is_table else _read_words(read_lines(path))
    labels: dict[str, str] = {}
    for number, row in rows:
        if len(row) < 2 or not row[0] or not row[1]:
            advice = '; remove the lines of images without a label' if row and row[0] else ''
            told = f'expected an image and its label, found {row}{advice}'
            raise UserError(f'{path}, line {number}: {told}')
        name, label = row[0], spelled(row[1])
        if labels.setdefault(name, label) != label:
            raise UserError(
                f'{path}, line {number}: {name} has the label {label!r}, and {labels[name]!r} in '
                'an earlier line'
            )
    if not labels:
        raise UserError(f'{path} has no labels; expected lines like images/a.png,cat')
    return labels


def number_labels(labels: dict[str, str]) -> dict[str, str]:
    """Return the labels of a table without names of classes; whole numbers as '1', not '1.0'.

    Raises:
        UserError: A label is no name and no number from 0, such as -1 or NaN.
    """
    values = {*labels.values()}
    fractions = [value for value in values if FRACTION.fullmatch(value)]
    if fractions and all(map(NUMBER.fullmatch, values)):
        told = f'labels such as {min(fractions)!r} are fractions: each of the {len(values)} '
        told += 'different ones is a class of its own'
        print_log(told, logger='current', level=logging.WARNING)
    numbers = {value: int(value.split('.')[0]) for value in values if WHOLE.fullmatch(value)}
    are_numbers = bool(numbers) and {v.lower() for v in values - {*numbers}} <= {*MISSING}
    for name, value in labels.items():
        if value.lower() in MISSING or (are_numbers and numbers[value] < 0):
            raise UserError(
                f'{name} has the label {value!r}, which is no number of a class (0, 1, 2, ...). '
                'Remove the lines of images without a label, or name all classes '
                f'(classes=[{value!r}, ...]) if it is one'
            )
    return {name: str(numbers[value]) for name, value in labels.items()} if are_numbers else labels


def explain_labels(labels: Collection[float], num_classes: int) -> str:
    """Return what usually makes some of ``labels`` no number below ``num_classes``, or ''."""
    if any(math.isnan(label) or label < 0 for label in labels):
        return '; -1 and NaN mean that there is no label: leave these samples out'
    if min(labels) == 1 and max(labels) == num_classes:
        return f'; they are 1 to {num_classes}, but numbers of classes begin at 0: subtract 1'
    return ''


def _read_csv(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows without the header, each of a path and a label."""
    rows = read_rows(path)
    first, others = (rows[0][1], rows[1:]) if rows else ([], [])
    head = [MARKS.sub('', cell.lower()) for cell in first]
    if any(cell.lower().endswith(ENDINGS) for cell in first):
        return rows  # without a header
    file = next((head.index(name) for name in FILES if name in head), None)
    label = next((head.index(name) for name in LABELS if name in head), None)
    if label is None and len(head) > 2:
        raise UserError(
            f'{path}: none of the columns {first} is known to have the labels; call it '
            f'{LABELS[0]!r} in the first line, and that of the images {FILES[0]!r}'
        )
    if file is None and label is None:  # of other words: images have endings, and it has none
        has_endings = others and all(row[0].lower().endswith(ENDINGS) for _, row in others)
        return others if has_endings else rows
    if label is None:  # of two columns, both may have names of images
        file = 0 if head[0] in FILES else file
        label = int(file == 0)
    elif file is None:
        file = int(label == 0)
    return [(number, row[file : file + 1] + row[label : label + 1]) for number, row in others]


def _read_words(lines: list[str]) -> list[tuple[int, list[str]]]:
    """Return image and label of each line: what a tab parts, or else the last space."""
    texts = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    return [
        (number, [word.strip() for word in text.rsplit('\t' if '\t' in text else None, 1)])
        for number, text in texts
        if text
    ]
