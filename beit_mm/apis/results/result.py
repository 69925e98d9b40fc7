import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from beit_mm.apis.results.picture_names import picture_names
from beit_mm.checkpoints.store import open_atomically
from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need


@dataclass
class Result:
    """Base of what a model says of images: arrays with a row for each image.

    Iterating gives a dict for each image; ``result[i]`` gives that of one. ``len()`` counts them.

    Attributes:
        files: Path of each image, or 'image 3' of one that came without a file.
        failed: Images that could not be used, and why; they have no row.
        suffixes: What :meth:`save` writes, besides folders of pictures with ``has_pictures``.
        per_image: Names of the attributes with a row for each image.
    """

    suffixes = ('.csv', '.parquet', '.npz')
    has_pictures = False
    per_image = ()

    files: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return what is said of one image."""
        rows = {name: getattr(self, name) for name in self.per_image}
        found = {name: row[index] for name, row in rows.items() if row is not None}
        return dict(img_path=self.files[index], **found)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the images of several results as one."""
        first = parts[0]
        found = {f.name: getattr(first, f.name) for f in fields(cls)}
        for name in cls.per_image:
            columns = [getattr(part, name) for part in parts if len(part)]
            if any(column is None for column in columns):
                found[name] = None
            elif columns:
                found[name] = stacked([row for column in columns for row in column])
        found['files'] = [name for part in parts for name in part.files]
        found['failed'] = {k: v for part in parts for k, v in part.failed.items()}
        return cls(**found)

    @classmethod
    def shared(cls, model, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return attributes that are the same for all images of a model and a call."""
        return {}

    def table(self) -> dict[str, list]:
        """Return the columns of a table with a line for each image, ``file`` first."""
        raise UserError(
            f'{type(self).__name__} are no table; their attributes are '
            f'{", ".join(self.per_image)}, and save() writes {", ".join(self.suffixes)}'
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a .npz file holds; rows of several sizes as name.0, name.1, ..."""
        found = {}
        for name in self.per_image:
            rows = np.asarray(getattr(self, name))
            if rows.ndim == 1 and rows.dtype == object:
                found |= {f'{name}.{number}': row for number, row in enumerate(rows)}
            elif rows.ndim:  # not None
                found[name] = rows
        return found

    def save(
        self, path: str | Path, overwrite: bool = False, names: Mapping[str, str] | None = None
    ) -> None:
        """Write a table (.csv, .parquet), the arrays (.npz) or a folder of pictures.

        Masks and other arrays of several sizes are ``masks.0``, ``masks.1``, ... in the .npz file.
        In a table, bytes of a file name that are no UTF-8 are written as ``\\udcff``.

        Args:
            names: What the picture of a file is called, without suffix; by default the path below
                the folder of all files here. For a stream, ``picture_names`` of all its files.

        Raises:
            UserError: The suffix is another one, these results do not fit it, or the file exists.
            MissingPackageError: .parquet needs pyarrow.
        """
        path = Path(path)
        self.check_path(path)
        suffix = path.suffix.lower()
        if not suffix:
            path.mkdir(parents=True, exist_ok=True)
            self.save_pictures(path, names or picture_names(self.files), overwrite)
            return
        if path.exists() and not overwrite:
            raise UserError(f'{path} exists already; give another name, or overwrite=True')
        writers = dict(csv=self._write_csv, parquet=self._write_parquet, npz=self._write_npz)
        writers[suffix[1:]](path)

    @classmethod
    def check_path(cls, path: Path) -> None:
        """Raise a UserError if results of this kind are not written as such a file or folder."""
        suffix = path.suffix.lower()
        if suffix not in cls.suffixes and not (cls.has_pictures and not suffix):
            ways = [*cls.suffixes, *['a folder of pictures'] * cls.has_pictures]
            raise UserError(
                f'{path}: {cls.__name__} are written as {", ".join(ways)}, not as '
                f'{suffix or "a folder"}'
            )

    def save_pictures(self, folder: Path, names: Mapping[str, str], overwrite: bool) -> None:
        """Write a picture for each image into a folder that exists."""
        raise NotImplementedError

    def to_pandas(self):
        """Return :meth:`table` as a DataFrame of pandas, which has to be installed."""
        return need('pandas', 'to_pandas()').DataFrame(self.table())

    def _write_csv(self, path: Path) -> None:
        table = self.table()
        lines = zip(*(map(_cell, column) for column in table.values()), strict=True)
        with open_atomically(path) as file:
            file.write(csv_text([list(table)]).encode())
            for line in lines:
                file.write(csv_text([line]).encode(errors='backslashreplace'))

    def _write_parquet(self, path: Path) -> None:
        pyarrow = need('pyarrow', f'{path}: this format (unlike .csv)')
        parquet = need('pyarrow.parquet', str(path))
        with open_atomically(path) as file:
            table = self.table()
            table['file'] = [name.encode(errors='backslashreplace').decode() for name in self.files]
            parquet.write_table(pyarrow.table(table), file)

    def _write_npz(self, path: Path) -> None:
        with open_atomically(path) as file:
            np.savez_compressed(file, files=np.array(self.files, dtype=str), **self.arrays())


def stacked(rows: Sequence[Any]) -> Any:
    """Return rows of one shape as an array, others as an array of objects; text as a list."""
    if rows and isinstance(rows[0], str):
        return [*rows]
    rows = [np.asarray(row) for row in rows]
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    mixed = np.empty(len(rows), object)
    mixed[:] = rows
    return mixed


def csv_text(lines) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator='\n').writerows(lines)
    return file.getvalue()


def _cell(value: Any) -> Any:
    """Return what a cell of a CSV file holds: lists as JSON."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else value
