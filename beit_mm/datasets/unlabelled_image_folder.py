import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from beit_mm.contracts import MissingFileError, SampleSource, UserError
from beit_mm.datasets.image_folder import (
    IMAGE_EXTENSIONS,
    Walk,
    describe_others,
    find_name,
    read_lines,
    read_table,
    spelled,
)
from beit_mm.datasets.named_errors import BadImageError, call_named
from beit_mm.datasets.part import take_part
from beit_mm.datasets.path_samples import PathSamples
from beit_mm.registry import DATASETS


@DATASETS.register_module()
class UnlabelledImageFolder(SampleSource, BaseDataset):
    """All images below a folder, however nested, without annotations.

    A sample enters the pipeline as dict(img_path, sample_idx). Samples are sorted by their path
    relative to ``data_root``, so that their order is the same on every file system. Hidden files
    and folders are left out, other files are ignored and counted in the log, links are followed,
    and each real folder is visited once. Images in formats that are not read are a warning.

    An image that the pipeline cannot read or process stops the training with an error that names
    it. It is not silently replaced by another one.

    Args:
        data_root: A local folder, or several; ``~`` is the home folder.
        pipeline: Transforms, beginning with LoadImageFromFile.
        extensions: File names with these endings are images, in lower or upper case.
        recursive: Look into the folders below ``data_root`` too.
        file_list: A text file with one image path per line, to use just these, in this order, or a
            CSV or TSV file with a column of paths. Its own path and those in it are relative to
            ``data_root``.
        indices: Use the first ``indices`` images (the last, if negative), or those at these
            positions.
        exclude: Images to leave out, relative to ``data_root``.
        part: 'train' or 'val', to divide one folder; None takes all images. See :func:`take_part`.
        val_share: For the validation.
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
        data_root: str | Sequence[str],
        pipeline: Sequence[dict | Callable] = (),
        extensions: str | Sequence[str] = IMAGE_EXTENSIONS,
        recursive: bool = True,
        file_list: str | None = None,
        indices: int | Sequence[int] | None = None,
        exclude: Sequence[str] = (),
        part: str | None = None,
        val_share: float = 0.2,
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
        roots = [data_root] if isinstance(data_root, str | os.PathLike) else list(data_root)
        self.roots = [os.path.expanduser(os.fspath(root)) for root in roots]
        if not roots or (len(roots) > 1 and file_list is not None):
            raise UserError(
                f'UnlabelledImageFolder.data_root={data_root!r} and file_list={file_list!r}; '
                'expected one folder, or several without file_list'
            )
        self.recursive = recursive
        self.file_list = file_list
        self.exclude = frozenset(spelled(os.fspath(name)) for name in exclude)
        self.part, self.val_share = part, val_share
        super().__init__(
            data_root=self.roots[0],
            pipeline=list(pipeline),
            indices=indices,
            max_refetch=max_refetch,
            metainfo=metainfo,
            test_mode=test_mode,
            lazy_init=lazy_init,
            serialize_data=serialize_data,
        )

    def load_data_list(self) -> Sequence[dict]:
        samples = self.take_part(PathSamples(self.find_paths()))
        self.serialize_data = False  # they are bytes already
        return samples

    def find_paths(self) -> list[str]:
        """Return the paths of the images, in the order of the samples."""
        for root in self.roots:
            if not os.path.exists(root):
                raise MissingFileError(
                    f'UnlabelledImageFolder.data_root={root!r} does not exist '
                    f'(seen from {os.getcwd()}); set it to the folder with your images'
                )
            if not os.path.isdir(root):
                raise UserError(
                    f'UnlabelledImageFolder.data_root={root!r} is a file; '
                    'set it to the folder with your images'
                )
        if self.file_list is not None:
            names = self._read_list(Path(self.roots[0]))
            return [os.path.join(self.roots[0], name) for name in names]
        walks = [Walk(root, self.recursive) for root in self.roots]
        if len(walks) == 1:
            return self._find_images(walks[0])
        return [*dict.fromkeys(path for walk in walks for path in self._find_images(walk))]

    def find_names(self) -> list[str]:
        """Return the paths relative to ``data_root``, which is one folder, with slashes."""
        if len(self.roots) > 1:
            raise UserError(f'{type(self).__name__}.data_root={self.roots}: expected one folder')
        return [self._name(path).replace(os.sep, '/') for path in self.find_paths()]

    def _name(self, path: str) -> str:
        """Return a path relative to ``data_root``."""
        start = os.path.join(self.data_root, '')
        if self.file_list is None and path.startswith(start):
            return path[len(start) :]  # as it was found; relpath takes longer than reading folders
        return os.path.relpath(path, self.data_root)

    def take_part(self, samples: Sequence[dict]) -> Sequence[dict]:
        """Return the samples for ``part``, of each class by itself; none of ``exclude``."""
        if self.exclude:
            names = [spelled(self._name(sample['img_path'])) for sample in samples]
            samples = [s for s, n in zip(samples, names, strict=True) if n not in self.exclude]
        if self.part is None:
            return samples
        names = [self._name(sample['img_path']) for sample in samples]
        groups = [sample.get('gt_label') for sample in samples]
        return [samples[i] for i in take_part(names, groups, self.part, self.val_share)]

    def _find_images(self, walk: Walk) -> list[str]:
        root, files = walk.root, walk.files()
        for told in walk.describe_links():
            _warn(told)
        for folder, why in walk.unreadable.items():
            _warn(f'{folder!r} cannot be read and is left out ({why}); correct its permissions')
        images = sorted(name for name in files if name.lower().endswith(self.extensions))
        are_others = len(files) > len(images)
        others = describe_others(sorted(set(files) - set(images))) if are_others else ''
        if not images:
            raise UserError(
                f'UnlabelledImageFolder.data_root={root!r} has no images: '
                f'{len(files)} files seen{"" if self.recursive else " (recursive=False)"}, looked '
                f'for {", ".join(self.extensions)}; set data_root to the folder with your images, '
                f'or add their ending to extensions{others}'
            )
        print_log(
            f'UnlabelledImageFolder: {len(images)} images in {root}, '
            f'{len(files) - len(images)} other files ignored',
            logger='current',
        )
        if others:
            _warn(f'{root!r}{others}')
        start = os.path.join(root, '')
        return [start + name for name in images]

    def _read_list(self, root: Path) -> list[str]:
        path = root / os.path.expanduser(self.file_list)
        if not path.is_file():
            raise MissingFileError(
                f'UnlabelledImageFolder.file_list={self.file_list!r}: no file {str(path)!r}; '
                'give its path relative to data_root, or an absolute one'
            )
        if path.suffix.lower() in ('.csv', '.tsv'):
            lines = read_table(path, root)
        else:
            lines = list(enumerate(read_lines(path), start=1))
        names = []
        for number, line in lines:
            name = find_name(root, line.strip())
            if not name:
                continue
            if not os.path.isfile(os.path.join(root, name)):
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

    def get_data_info(self, idx: int) -> dict:
        if isinstance(self.data_list, PathSamples):  # makes each anew: no copy is needed
            return dict(self.data_list[idx], sample_idx=idx % len(self.data_list))
        return super().get_data_info(idx)

    def prepare_data(self, idx: int) -> Any:
        """Return what the pipeline makes of a sample; None if another may take its place."""
        info = self.get_data_info(idx)
        path = info['img_path']
        data = call_named(self.pipeline, info)
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


def _warn(message: str) -> None:
    print_log(f'UnlabelledImageFolder: {message}', logger='current', level=logging.WARNING)
