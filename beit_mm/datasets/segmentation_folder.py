import os
from collections.abc import Sequence
from pathlib import Path

from beit_mm.contracts import MissingFileError, UserError, check_choice
from beit_mm.datasets.image_folder import Walk, spelled
from beit_mm.datasets.unlabelled_image_folder import UnlabelledImageFolder
from beit_mm.registry import DATASETS

MASK_EXTENSIONS = ('.png', '.tif', '.tiff', '.bmp', '.gif')


@DATASETS.register_module()
class SegmentationFolder(UnlabelledImageFolder):
    """Images with a mask of class numbers each, for mmseg's segmentors.

    The mask of ``a/b.jpg`` is ``a/b.png`` below ``mask_root``; any ending of masks will do. A
    sample enters the pipeline as dict(img_path, seg_map_path, sample_idx, ...), as mmseg's loaders
    and ours expect it.

    Args:
        data_root: Folder of the images.
        mask_root: Folder of the masks.
        mask_suffix: End of a mask's name before its ending, such as '_mask'.
        classes: Names of the classes in the order of their numbers.
        palette: Colors of the classes, (K, 3).
        reduce_zero_label: 0 is no class; see mmseg.
        missing: 'error' for an image without a mask, or 'skip'.
        **kwargs: Of :class:`UnlabelledImageFolder`.

    Raises:
        MissingFileError: ``mask_root`` or a mask does not exist.
        UserError: No image has a mask, or an image has two.
    """

    METAINFO = dict(dataset_type='segmentation_folder')

    def __init__(
        self,
        data_root: str,
        mask_root: str,
        mask_suffix: str = '',
        classes: Sequence[str] | None = None,
        palette: Sequence | None = None,
        reduce_zero_label: bool = False,
        missing: str = 'error',
        metainfo: dict | None = None,
        **kwargs,
    ):
        check_choice('SegmentationFolder', ('error', 'skip'), missing=missing)
        self.mask_root, self.mask_suffix = os.path.expanduser(os.fspath(mask_root)), mask_suffix
        self.reduce_zero_label, self.missing = reduce_zero_label, missing
        given = dict(classes=classes, palette=palette, reduce_zero_label=reduce_zero_label)
        known = {name: value for name, value in given.items() if value is not None}
        super().__init__(data_root, metainfo={**known, **(metainfo or {})}, **kwargs)

    def load_data_list(self) -> list[dict]:
        root = Path(self.mask_root)
        if not root.is_dir():
            raise MissingFileError(
                f'SegmentationFolder.mask_root={self.mask_root!r} is no folder (seen from '
                f'{os.getcwd()}); set it to the folder with your masks'
            )
        masks = self._find_masks(root)
        pairs, alone = [], []
        for name in self.find_names():
            stem = os.path.splitext(name)[0]
            found = masks.get(spelled(f'{stem}{self.mask_suffix}'), [])
            if len(found) > 1:
                raise UserError(f'{name} has two masks in {self.mask_root!r}: {", ".join(found)}')
            if found:
                pairs.append((name, found[0]))
            else:
                alone.append(name)
        if alone and (self.missing == 'error' or not pairs):
            seen = {os.path.splitext(name)[1] for name in Walk(str(root)).files()}
            there = f' (there is {masks[min(masks)][0]}, for example)' if masks else ''
            if others := sorted(seen - {*MASK_EXTENSIONS}):
                there += f' (files with {", ".join(others[:5])} are no masks: save them as PNG)'
            skip = " or leave these images out with missing='skip'"
            raise MissingFileError(
                f'{len(alone)} of {len(alone) + len(pairs)} images have no mask in '
                f'{self.mask_root!r}, {alone[0]} for example; expected '
                f'{Path(alone[0]).with_suffix("")}{self.mask_suffix}.png{there}. Add or rename '
                f'the masks, or set mask_suffix{skip if self.missing == "error" else ""}'
            )
        return self.take_part(
            [
                dict(
                    img_path=os.path.join(self.data_root, name),
                    seg_map_path=os.path.join(self.mask_root, mask),
                    label_map=None,
                    reduce_zero_label=self.reduce_zero_label,
                    num_classes=len(self._metainfo.get('classes') or ()),
                    seg_fields=[],
                )
                for name, mask in pairs
            ]
        )

    def _find_masks(self, root: Path) -> dict[str, list[str]]:
        """Return the masks below ``root`` by their path without its ending."""
        masks: dict[str, list[str]] = {}
        for name in sorted(Walk(str(root)).files()):
            stem, ending = os.path.splitext(name)
            if ending.lower() in MASK_EXTENSIONS:
                masks.setdefault(spelled(stem), []).append(name)
        return masks
