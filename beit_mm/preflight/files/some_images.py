"""Checks of a few images of a data set, at the start of a training."""

from collections.abc import Iterator

from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset

from beit_mm.contracts import Finding
from beit_mm.contracts.sample_source import leaf_datasets
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.preflight.files.image_file import Loader, check_image, read_file
from beit_mm.preflight.files.split_checks import check_mixed

SOME = 8


def check_some_images(dataset) -> Iterator[Finding]:
    """Yield the first finding of each kind in eight images of each inner data set, notes left out.

    Files that cannot be read are left to the training, where another backend may read them.
    """
    seen, values = set(), {}
    for part in leaf_datasets(dataset):
        loader = _find_loader(part) if isinstance(part, BaseDataset) else None
        some = 0 if loader is None else min(SOME, len(part))
        for number in range(some):
            path = part.get_data_info(number * len(part) // some).get('img_path')
            content = None if path is None else read_file(path)[0]
            found, facts = ([], None) if content is None else check_image(path, content, loader)
            if facts is not None:
                values[path] = facts.values
            for finding in found:
                if finding.kind not in seen and finding.level != 'note':
                    seen.add(finding.kind)
                    yield finding
    yield from check_mixed(values)


def _find_loader(dataset: BaseDataset) -> Loader | None:
    for transform in getattr(dataset.pipeline, 'transforms', ()):
        if isinstance(transform, LoadMultiBandImage):
            return Loader(transform, turns=False)
        if isinstance(transform, LoadImageFromFile):
            eight_bit = transform.color_type != 'unchanged'
            return Loader(backend=transform.imdecode_backend, eight_bit=eight_bit)
    return None
