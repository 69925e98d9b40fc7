import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from beit_mm.contracts import MissingFileError, SampleSource, UserError
from beit_mm.datasets.named_errors import BadImageError, raise_named
from beit_mm.registry import DATASETS

IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif'),
    *('.ppm', '.pgm', '.pbm', '.pnm'),
)


@DATASETS.register_module()
class UnlabelledImageFolder(SampleSource, BaseDataset):
    """All images below a folder, however nested, without annotations.

    A sample enters the pipeline as dict(img_path, sample_idx). Samples are sorted by their path
    relative to ``data_root``, so that their order is the same on every file system. Hidden files
    and folders are left out, other files are ignored and counted in the log, links are followed.

    An image that the pipeline cannot read or process stops the training with an error that names
    it. It is not silently replaced by another one.

    Args:
        data_root: A local folder.
        pipeline: Transforms, beginning with LoadImageFromFile.
        extensions: File names with these endings are images, in lower or upper case.
        recursive: Look into the folders below ``data_root`` too.
        file_list: A text file with one image path per line, to use just these, in this order. Its
            own path and those in it are relative to ``data_root``.
        indices: Use the first ``indices`` images (the last, if negative), or those at these
            positions.
        max_refetch: How often another random image is taken where the pipeline returns None, as
            ``LoadImageFromFile(ignore_empty=True)`` does; each is reported in the log.
        metainfo, test_mode, lazy_init, serialize_data: As in mmengine's BaseDataset.

    Raises:
        BadImageError: The image of a sample is bad; RuntimeError: a transform has a defect.
        MissingFileError: ``data_root``, ``file_list`` or an image named in it does not exist.
        UserError: There are no images.
    """

    METAINFO = dict(dataset_type='unlabelled_image_folder')
    names_errors = True

    def __init__(
        self,
        data_root: str,
        pipeline: Sequence[dict | Callable] = (),
        extensions: str | Sequence[str] = IMAGE_EXTENSIONS,
        recursive: bool = True,
        file_list: str | None = None,
        indices: int | Sequence[int] | None = None,
        max_refetch: int = 0,
        metainfo: Mapping | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
        serialize_data: bool = True,
    ):
        extensions = (extensions,) if isinstance(extensions, str) else tuple(extensions)
        if not extensions:
            raise UserError(
                'UnlabelledImageFolder.extensions is empty; name the endings of your images, '
                "for example ('.jpg', '.png'), or leave it out"
            )
        if indices == 0 or (isinstance(indices, Sequence) and not indices):
            raise UserError(
                f'UnlabelledImageFolder.indices={indices!r} selects no image; '
                'leave it out to use them all'
            )
        self.extensions = tuple('.' + ending.lower().lstrip('.') for ending in extensions)
        self.recursive = recursive
        self.file_list = file_list
        super().__init__(
            data_root=os.fspath(data_root),
            pipeline=list(pipeline),
            indices=indices,
            max_refetch=max_refetch,
            metainfo=metainfo,
            test_mode=test_mode,
            lazy_init=lazy_init,
            serialize_data=serialize_data,
        )

    def load_data_list(self) -> list[dict]:
        root = Path(self.data_root)
        if not root.exists():
            raise MissingFileError(
                f'UnlabelledImageFolder.data_root={self.data_root!r} does not exist '
                f'(seen from {os.getcwd()}); set it to the folder with your images'
            )
        if not root.is_dir():
            raise UserError(
                f'UnlabelledImageFolder.data_root={self.data_root!r} is a file; '
                'set it to the folder with your images'
            )
        names = self._find_images(root) if self.file_list is None else self._read_list(root)
        return [dict(img_path=os.path.join(self.data_root, name)) for name in names]

    def _find_images(self, root: Path) -> list[str]:
        broken: list[str] = []
        files = [path.relative_to(root).as_posix() for path in _walk(root, self.recursive, broken)]
        if broken:
            print_log(
                f'UnlabelledImageFolder: {len(broken)} links lead nowhere and are left out, '
                f'{broken[0]} for example; restore their targets, or remove them',
                logger='current',
                level=logging.WARNING,
            )
        images = sorted(name for name in files if name.lower().endswith(self.extensions))
        if not images:
            raise UserError(
                f'UnlabelledImageFolder.data_root={self.data_root!r} has no images: '
                f'{len(files)} files seen{"" if self.recursive else " (recursive=False)"}, looked '
                f'for {", ".join(self.extensions)}; set data_root to the folder with your images, '
                'or add their ending to extensions'
            )
        print_log(
            f'UnlabelledImageFolder: {len(images)} images in {self.data_root}, '
            f'{len(files) - len(images)} other files ignored',
            logger='current',
        )
        return images

    def _read_list(self, root: Path) -> list[str]:
        path = root / self.file_list
        if not path.is_file():
            raise MissingFileError(
                f'UnlabelledImageFolder.file_list={self.file_list!r}: no file {str(path)!r}; '
                'give its path relative to data_root, or an absolute one'
            )
        names = []
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), start=1):
            name = line.strip()
            if not name:
                continue
            if not (root / name).is_file():
                raise MissingFileError(
                    f'{path}, line {number}: no file {name!r} in data_root={self.data_root!r}; '
                    'each line is one image path relative to data_root, without a label'
                )
            names.append(name)
        if not names:
            raise UserError(
                f'UnlabelledImageFolder.file_list={self.file_list!r}: {path} names no image; '
                'each line is one image path relative to data_root'
            )
        return names

    def prepare_data(self, idx: int) -> Any:
        """Return what the pipeline makes of a sample; None if another may take its place."""
        info = self.get_data_info(idx)
        path = info['img_path']
        try:
            data = self.pipeline(dict(info))
        except Exception as error:
            raise_named(error, self.pipeline, info)
        if data is None:
            if self.max_refetch == 0 or self.test_mode:
                raise BadImageError(
                    f'image {path!r} (sample {idx}): the pipeline returned None; repair or remove '
                    'the file, or set max_refetch to let another image take its place'
                )
            print_log(
                f'image {path!r} skipped, taking another', logger='current', level=logging.WARNING
            )
        return data


def _walk(
    folder: Path, recursive: bool, broken: list[str], parents: frozenset[str] = frozenset()
) -> Iterator[Path]:
    """Yield all files below ``folder`` that are not hidden.

    A link back to one of ``parents`` is not followed. Links that lead nowhere are added to
    ``broken``.
    """
    real = os.path.realpath(folder)
    if real in parents:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            try:
                is_file, is_dir = entry.is_file(), entry.is_dir()
            except OSError:  # a link to itself
                is_file = is_dir = False
            if is_file:
                yield Path(entry.path)
            elif entry.is_symlink() and not is_dir:
                broken.append(entry.path)
            elif recursive and is_dir:
                yield from _walk(Path(entry.path), recursive, broken, parents | {real})
