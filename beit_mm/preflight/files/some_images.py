"""A few images of a data set, before it is trained on."""

from collections.abc import Iterator

from mmcv.transforms import LoadImageFromFile

from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.preflight.files.file_finding import FileFinding
from beit_mm.preflight.files.image_file import Loader, check_image, read_file

SOME = 8


def check_some_images(dataset) -> Iterator[FileFinding]:
    """The first finding of each kind, notes left out, in eight images spread over the data set.

    Files that can't be read are left to the training: another backend may have them.
    """
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner != [None]:
        found = [finding for part in inner for finding in check_some_images(part)]
        yield from {finding.kind: finding for finding in reversed(found)}.values()
        return
    loader = _loader(getattr(dataset, 'pipeline', None))
    if loader is None or not hasattr(dataset, 'get_data_info'):
        return
    seen, some = set(), min(SOME, len(dataset))
    for number in range(some):
        path = dataset.get_data_info(number * len(dataset) // some).get('img_path')
        content = None if path is None else read_file(path)[0]
        for finding in [] if content is None else check_image(path, content, loader)[0]:
            if finding.kind not in seen and finding.level != 'note':
                seen.add(finding.kind)
                yield finding


def _loader(pipeline) -> Loader | None:
    for transform in getattr(pipeline, 'transforms', ()):
        if isinstance(transform, LoadMultiBandImage):
            return Loader(transform, turns=False)
        if isinstance(transform, LoadImageFromFile):
            eight_bit = transform.color_type != 'unchanged'
            return Loader(backend=transform.imdecode_backend, eight_bit=eight_bit)
    return None
