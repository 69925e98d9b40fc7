from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beit_mm.apis.results.picture_names import write_png
from beit_mm.apis.results.result import Result
from beit_mm.visualization import class_legend, segmentation_overlay


@dataclass
class Segmentations(Result):
    """A class for each pixel; ``predictions`` in a row is mmseg's key.

    Attributes:
        masks: Class ids (H, W) of each image, in its own size.
        images: The images, uint8 RGB (H, W, 3), for the overlays.
        classes: Names of the classes; None where the training did not say them.
        palette: Colors (K, 3) of the classes.
    """

    has_pictures = True
    per_image = ('masks', 'images')

    masks: np.ndarray | None = None
    images: np.ndarray | None = None
    classes: list[str] | None = None
    palette: list | None = None

    @classmethod
    def shared(cls, model, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(classes=model.classes, palette=model.palette)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = super().__getitem__(index)
        return dict(img_path=row['img_path'], predictions=row['masks'])

    @property
    def names(self) -> list[str]:
        """Return the names of the classes, numbers where they have none."""
        most = max(
            (int(mask.max(initial=0)) for mask in (self.masks if len(self) else [])), default=0
        )
        return self.classes or [str(number) for number in range(most + 1)]

    def arrays(self) -> dict[str, np.ndarray]:
        return {n: rows for n, rows in super().arrays().items() if not n.startswith('images')}

    def table(self) -> dict[str, list]:
        """Return the share of the pixels of each class."""
        found = dict(file=self.files)
        for label, name in enumerate(self.names):
            masks = self.masks if len(self) else []
            found[name] = [float((mask == label).mean()) for mask in masks]
        return found

    def save_pictures(self, folder: Path, names: Mapping[str, str], overwrite: bool) -> None:
        """Write ``masks/``: class ids as gray PNG; ``overlays/``: colors, with a legend."""
        palette = self.palette or distinct_colors(len(self.names))
        for index, file in enumerate(self.files):
            mask, image = self.masks[index], self.images[index]
            wide = mask.astype(np.uint8 if mask.max(initial=0) < 256 else np.uint16)
            write_png(folder / 'masks' / f'{names[file]}.png', wide, overwrite)
            overlay = draw_classes(image, mask, palette)
            overlay = class_legend(overlay, legend_of(self.names, palette, {*np.unique(mask)}))
            write_png(folder / 'overlays' / f'{names[file]}.png', overlay, overwrite)


def draw_classes(image: np.ndarray, mask: np.ndarray, palette: Sequence) -> np.ndarray:
    """Lay the colors of a mask (H, W) over an image (H, W, 3); a black first one is clear."""
    return segmentation_overlay(image, mask, palette, first=0 if any(palette[0]) else 1)


def legend_of(names: Sequence[str], palette: Sequence, ids: set[int]) -> list[tuple[str, Sequence]]:
    """Return name and color of each of some classes; a black first one is drawn clear."""
    entries = [(str(names[n]), palette[n]) for n in sorted(ids) if n < len(names)]
    if 0 in ids and not any(palette[0]):
        entries[0] = (f'{names[0]} (clear)', (255, 255, 255))
    return entries


def distinct_colors(number: int) -> Sequence[Sequence[int]]:
    """Return colors that differ in their bits, as PASCAL VOC's palette does."""
    colors = []
    for label in range(number):
        rgb, rest = [0, 0, 0], label
        for bit in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (rest >> channel & 1) << bit
            rest >>= 3
        colors.append(rgb)
    return colors
