import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from beit_mm.contracts import UserError
from beit_mm.datasets.image_folder import IMAGE_EXTENSIONS, find_images
from beit_mm.datasets.spread import spread
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.progress import Progress
from beit_mm.visualization import grid, tile, to_rgb

EXTENSIONS = (*IMAGE_EXTENSIONS, '.npy')
MOST_READ = 500  # images
SHOWN = 24  # on the contact sheet
TILE = 112  # pixels of one
SHOWN_BROKEN = 5
LEAST = 10


@dataclass
class Survey:
    """What a folder of images looks like.

    Attributes:
        paths: All images.
        broken: Images among those that were read that cannot be, and why.
        sizes: (H, W) of the images that were read.
        channels, dtypes: How many of them have which.
        low, high: Least and largest value of pixels with data.
        mean, std: Of these in each channel; empty where channels differ.
        duplicates: Images with the content of another one.
        thumbnails: Some images, uint8 RGB.
        others: Words on the files in formats that are not read.
        nodata: The value of pixels without data that the user has named.
        has_gaps: An image has such pixels.
    """

    paths: list[str]
    broken: dict[str, str] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    channels: Counter = field(default_factory=Counter)
    dtypes: Counter = field(default_factory=Counter)
    low: float = np.inf
    high: float = -np.inf
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    duplicates: int = 0
    thumbnails: list[np.ndarray] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    nodata: float | None = None
    has_gaps: bool = False

    @property
    def is_8_bit(self) -> bool:
        """Return whether MMEngine's loader reads them as they are: 8 bits, gray or color.

        It reads no arrays, of the bands of a TIFF those that it takes for colors, and transparent
        images without their transparency. It knows no missing pixels.
        """
        if self.nodata is not None or self.has_gaps:
            return False
        endings = ('.npy',) if set(self.channels) <= {1} else ('.npy', '.tif', '.tiff')
        if any(path.lower().endswith(endings) for path in self.paths):
            return False
        return set(self.dtypes) == {'uint8'} and set(self.channels) <= {1, 2, 3, 4}

    @property
    def loaded_channels(self) -> int:
        """Return the channels of loaded images; gray ones of 8 bits become color."""
        return 3 if self.is_8_bit else next(iter(self.channels))

    @property
    def is_complete(self) -> bool:
        """Return whether all images were read, or found to be broken."""
        return len(self.sizes) + len(self.broken) == len(self.paths)

    def broken_below(self, root: str) -> list[str]:
        """Return the images below a folder that cannot be read, relative to it."""
        paths = [Path(path) for path in self.broken]
        return [path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)]

    def table(self) -> list[tuple[str, str]]:
        """Return names and values for a terminal or a page."""
        heights, widths = np.array(self.sizes).T
        rows = [
            ('images', f'{len(self.paths)}, {len(self.sizes)} of them read'),
            ('height', _span(heights)),
            ('width', _span(widths)),
            ('channels', _counts(self.channels)),
            ('values', f'{_counts(self.dtypes)}; {self.low:g} to {self.high:g}'),
        ]
        if self.duplicates:
            rows.append(('duplicates', f'{self.duplicates} have the content of another'))
        for path, why in [*self.broken.items()][:SHOWN_BROKEN]:
            rows.append(('cannot be read', why if path in why else f'{path}: {why}'))
        if (more := len(self.broken) - SHOWN_BROKEN) > 0:
            rows.append(('cannot be read', f'{more} more; they are left out'))
        if self.channels and max(self.channels) > min(map(min, self.sizes)):
            told = 'more channels than pixels of a side; arrays are read as (H, W, C)'
            rows.append(('warning', told))
        return [*rows, *(('left out', words) for words in self.others)]


def look_at(folder: str, nodata: float | None = None) -> Survey:
    """Read up to 500 images, spread over a folder.

    Args:
        nodata: The value of pixels without data; None takes what the files say.

    Raises:
        UserError: There are no images, none can be read, or they differ in their channels or types.
    """
    others: list[str] = []
    folder = str(Path(folder).expanduser().resolve())
    survey = Survey(find_images(folder, EXTENSIONS, told=others), others=others, nodata=nodata)
    load = LoadMultiBandImage(nodata=nodata)
    moments: list[np.ma.MaskedArray] = []
    seen, first = Counter(), {}  # digests, and an image of each type or number of channels
    chosen = [survey.paths[i] for i in spread(len(survey.paths), MOST_READ)]
    shown = {chosen[i] for i in spread(len(chosen), SHOWN)}
    with Progress('looking at images', len(chosen)) as progress:
        for path in chosen:
            progress.step()
            seen[hashlib.sha256(Path(path).read_bytes()).digest()] += 1
            try:
                results = load.transform(dict(img_path=path))
                image, missing = results['img'], results.get('missing', False)
                if np.all(missing):
                    raise UserError(f'{path}: all pixels are marked as having no data')
            except Exception as error:  # whatever a decoder raises
                survey.broken[path] = str(error)
                continue
            survey.has_gaps |= bool(np.any(missing))
            survey.sizes.append(image.shape[:2])
            survey.channels[image.shape[2]] += 1
            survey.dtypes[image.dtype.name] += 1
            first.setdefault(image.dtype.name, path)
            first.setdefault(image.shape[2], path)
            values = np.ma.array(image, np.float64, mask=missing).reshape(-1, image.shape[2])
            survey.low = min(survey.low, float(values.min()))
            survey.high = max(survey.high, float(values.max()))
            moments.append(np.ma.stack([values.mean(0), (values * values).mean(0)]))
            if path in shown:
                survey.thumbnails.append(make_thumbnail(image, path))
    _check(survey, folder, first)
    survey.duplicates = sum(count - 1 for count in seen.values())
    if len(survey.channels) == 1:
        mean, square = np.ma.stack(moments).mean(0).filled(0)
        survey.mean = mean.tolist()
        survey.std = np.sqrt(np.maximum(square - mean**2, 1e-12)).tolist()
    return survey


def _check(survey: Survey, folder: str, first: dict) -> None:
    """Raise a UserError if the images cannot be trained on together.

    Args:
        first: An image of each number of channels and of each type.
    """
    if not survey.sizes:
        raise UserError(f'None of the images can be read. The first one: {survey.broken.popitem()}')
    if len(survey.sizes) < LEAST:
        raise UserError(
            f'{folder} has {len(survey.sizes)} images that can be read; a training and its '
            f'validation need {LEAST} at least, and learn from thousands'
        )
    if len(survey.channels) > 1 and not survey.is_8_bit:
        raise UserError(
            f'{folder}: images have different numbers of channels ({_counts(survey.channels)}), '
            f'{", ".join(first[n] for n in survey.channels)} for example; keep those of one kind '
            'in a folder'
        )
    if len(survey.dtypes) > 1:
        raise UserError(
            f'{folder}: images have different types ({_counts(survey.dtypes)}), '
            f'{", ".join(first[name] for name in survey.dtypes)} for example; convert them to '
            'one, or keep them apart'
        )


def make_thumbnail(image: np.ndarray, path: str) -> np.ndarray:
    """Return an image (H, W, C) without most of its pixels, a photograph as its EXIF turns it."""
    if path.lower().endswith(('.jpg', '.jpeg')):
        image = cv2.imread(path)[..., ::-1]
    step = max(max(image.shape[:2]) // (4 * TILE), 1)
    return image[::step, ::step].copy()


def contact_sheet(survey: Survey) -> np.ndarray:
    """Return a picture (H, W, 3) of some images, black where the values are least."""
    span = max(survey.high - survey.low, 1e-9)
    tiles = []
    for image in survey.thumbnails:
        small = (image.astype(np.float32) - survey.low) / span
        tiles.append(tile(to_rgb(small.transpose(2, 0, 1)[None])[0], TILE))
    columns = min(len(tiles), 6)
    tiles += [np.full((TILE, TILE, 3), 255, np.uint8)] * (-len(tiles) % columns)
    return grid([tiles[start : start + columns] for start in range(0, len(tiles), columns)])


def _span(values: np.ndarray) -> str:
    low, middle, high = int(values.min()), int(np.median(values)), int(values.max())
    return f'{low}' if low == high else f'{low} to {high}, half of them up to {middle}'


def _counts(counter: Counter) -> str:
    if len(counter) == 1:
        return str(next(iter(counter)))
    return ', '.join(f'{key} ({count})' for key, count in counter.most_common())
