"""Which image files there are below a folder, or in a list."""

import codecs
import csv
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beit_mm.contracts import MissingFileError, UserError

# What LoadImageFromFile reads by OpenCV.
IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif'),
    *('.ppm', '.pgm', '.pbm', '.pnm', '.avif', '.jp2', '.j2k'),
)
HEIC = (
    "pip install pillow-heif, add the ending to extensions, and set imdecode_backend='pillow' of "
    'LoadImageFromFile'
)
DICOM = 'pip install pydicom, add the ending to extensions, and read them by LoadMultiBandImage'
CONVERT = 'convert them, for example to PNG'
# Files with these endings are images as well, or contain some, and what can be done.
OTHER_IMAGES = {
    '.heic': HEIC,
    '.heif': HEIC,
    '.dcm': DICOM,
    '.dicom': DICOM,
    '.npy': 'add the ending to extensions, and read them by LoadMultiBandImage',
    **dict.fromkeys(('.jxl', '.jpx', '.svg', '.psd', '.eps', '.pdf', '.tga', '.ico'), CONVERT),
    **dict.fromkeys(('.exr', '.hdr', '.pfm', '.npz', '.h5', '.nii', '.nrrd', '.mha'), CONVERT),
    **dict.fromkeys(('.dng', '.nef', '.cr2', '.cr3', '.arw', '.orf', '.rw2', '.raf'), CONVERT),
    **dict.fromkeys(('.svs', '.ndpi', '.czi', '.mrxs'), 'cut them into tiles'),
    **dict.fromkeys(('.mp4', '.avi', '.mov', '.mkv', '.webm'), 'save their frames as images'),
}


CHAIN = 'chain.json'  # what `beit-mm chain` leaves in its folder, which has pictures too


@dataclass
class Walk:
    """All folders below one, each real folder once; hidden ones and those of a chain are left out.

    Attributes:
        unreadable: Folders that could not be listed, and why.
        broken: Links that lead nowhere.
        repeated: Links to folders that have their own path below ``root``, or an earlier link.
    """

    root: str
    recursive: bool = True
    unreadable: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each folder with the names of its folders and files, sorted.

        Links are followed last, so that a folder keeps its own path where it has one.

        Raises:
            OSError: ``root`` itself cannot be listed.
        """
        seen, folders, links = set(), [self.root], []
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            real = os.path.realpath(folder)
            if real in seen:
                self.repeated.append(folder)
                continue
            seen.add(real)
            try:
                with os.scandir(folder) as entries:
                    entries = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if folder == self.root:
                    raise
                self.unreadable[folder] = error.strerror or str(error)
                continue
            inner, files = self._sort(entries)
            if CHAIN in files and folder != self.root:
                continue
            if self.recursive:
                links += [entry.path for entry in inner if entry.is_symlink()]
                folders += [entry.path for entry in reversed(inner) if not entry.is_symlink()]
            yield folder, [entry.name for entry in inner], files

    def files(self) -> list[str]:
        """Return the paths of the files, relative to ``root``."""
        found = []
        for folder, _, names in self:
            start = os.path.join(os.path.relpath(folder, self.root), '')
            found += names if folder == self.root else [start + name for name in names]
        return found

    def describe_links(self) -> list[str]:
        """Say which links are left out."""
        kinds = {
            'lead nowhere and are left out, {!r} for example; restore their targets': self.broken,
            'lead to folders that are read already and are left out, {!r} for '
            'example': self.repeated,
        }
        return [f'{len(at)} links {words.format(at[0])}' for words, at in kinds.items() if at]

    def _sort(self, entries: list[os.DirEntry]) -> tuple[list[os.DirEntry], list[str]]:
        """Return the folders, and the names of the files."""
        folders, files = [], []
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            try:
                is_file, is_dir = entry.is_file(), entry.is_dir()
            except OSError:  # a link to itself, or into a folder that may not be entered
                is_file = is_dir = False
            if is_file:
                files.append(entry.name)
            elif is_dir:
                folders.append(entry)
            elif entry.is_symlink():
                self.broken.append(entry.path)
        return folders, files


def find_images(
    path: str | os.PathLike,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    recursive: bool = True,
    told: list[str] | None = None,
) -> list[str]:
    """Return the image files below a folder, sorted by their paths in it; a file is itself.

    Hidden files and folders are left out. ``~`` is expanded.

    Args:
        told: Gets what :func:`describe_others` and :meth:`Walk.describe_links` say.

    Raises:
        MissingFileError: There is no ``path``.
        UserError: A folder below it cannot be read, or there are no images.
    """
    root = os.path.expanduser(os.fspath(path))
    if os.path.isfile(root):
        return [root]
    if not os.path.isdir(root):
        raise MissingFileError(f'There is no {root!r} (seen from {os.getcwd()})')
    walk = Walk(root, recursive)
    found = walk.files()
    if walk.unreadable:
        folder, why = next(iter(walk.unreadable.items()))
        raise UserError(f'{folder!r} cannot be read ({why}); correct its permissions, or remove it')
    images = [name for name in found if name.lower().endswith(tuple(extensions))]
    if not images:
        raise UserError(f'{root!r} has no images: {len(found)} files seen{describe_others(found)}')
    if told is not None and (others := describe_others(sorted({*found} - {*images}))):
        told.append(others.removeprefix('; '))
    if told is not None:
        told += walk.describe_links()
    return [os.path.join(root, name) for name in sorted(images)]


def describe_others(names: Sequence[str]) -> str:
    """Say which of the files that are not read are images, and what to do, or ''."""
    counts: dict[str, list[str]] = {}
    for name in names:
        ending = os.path.splitext(name)[1].lower()
        if ending in OTHER_IMAGES:
            counts.setdefault(ending, []).append(name)
    parts = [
        f'{len(found)} {ending} files are not read, {found[0]!r} for example: '
        f'{OTHER_IMAGES[ending]}'
        for ending, found in sorted(counts.items())
    ]
    return ''.join(f'; {part}' for part in parts)


def read_lines(path: str | os.PathLike) -> list[str]:
    """Return the lines of a text file: UTF-8, UTF-16 with its mark, or the bytes of file names."""
    content = Path(path).read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode('utf-16').splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f'{path} is not a UTF-16 text ({error}); save it as UTF-8') from error
    lines = content.removeprefix(codecs.BOM_UTF8).decode('utf-8', 'surrogateescape')
    return lines.replace('\r\n', '\n').replace('\r', '\n').split('\n')


def find_name(root: str | os.PathLike, name: str) -> str:
    """Return a name that a list has of a file in ``root``, as the disk has it.

    Windows writes backslashes and its spreadsheets Windows-1252, macOS may take letters and their
    accents apart.
    """
    if name.isascii() and '\\' not in name:
        return name
    slashes = os.path.normpath(name.replace('\\', '/')) if '\\' in name else name
    forms = (spelled(path, form) for form in ('NFC', 'NFD') for path in (name, slashes))
    known = (path for path in (name, slashes, *forms) if os.path.isfile(os.path.join(root, path)))
    return next(known, slashes)


def spelled(words: str, form: str = 'NFC') -> str:
    """Return words in one Unicode form; those that are no UTF-8 as Windows-1252 has them."""
    try:
        words.encode()
    except UnicodeEncodeError:
        content = words.encode('utf-8', 'surrogateescape')
        words = content.decode('cp1252', 'backslashreplace')
    return unicodedata.normalize(form, words)


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows of a CSV or TSV file that are not empty, with line numbers.

    Cells are separated by commas, semicolons or tabs, whichever the first row has most of, or as
    a first line such as 'sep=;' says, which spreadsheets write.
    """
    lines = read_lines(path)
    first = next((line for line in lines if line.strip()), '')
    mark = '\t' if path.suffix.lower() == '.tsv' else max(',;\t', key=first.count)
    if first[:4].lower() == 'sep=' and len(first) == 5:
        mark, lines[lines.index(first)] = first[4], ''
    reader = csv.reader(lines, delimiter=mark)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f'{path}, line {reader.line_num}: {error}; correct its quotes') from error
    return [(number, row) for number, row in rows if any(row)]


def read_table(path: Path, root: Path) -> list[tuple[int, str]]:
    """Return the column of a CSV or TSV file that names files in ``root``, with line numbers."""
    rows = read_rows(path)
    for start, (_, row) in enumerate(rows[:2]):  # the first one may be names of the columns
        for column, cell in enumerate(row):
            if cell and (root / find_name(root, cell)).is_file():
                return [(n, row[column] if column < len(row) else '') for n, row in rows[start:]]
    raise UserError(
        f'{path} has no column of image paths: nothing in its first two lines is a file in '
        f'{str(root)!r}; one column names images relative to it'
    )
