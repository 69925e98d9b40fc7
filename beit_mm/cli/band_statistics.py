"""Compute mean and deviation of the bands of images (tools/analysis_tools/band_statistics.py)."""

import argparse

import numpy as np

from beit_mm.cli.arguments import positive_int
from beit_mm.contracts import UserError
from beit_mm.datasets import UnlabelledImageFolder
from beit_mm.datasets.image_folder import IMAGE_EXTENSIONS
from beit_mm.datasets.named_errors import NamedErrors
from beit_mm.datasets.spread import spread
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.progress import Progress

MOST_VALUES = 10**6  # that percentiles are taken of
TAIL = 0.1  # percent of the values at each end that may be outliers
FREQUENT = 0.01  # share of one value that may stand for no data


def band_statistics(paths: list[str], load: LoadMultiBandImage) -> dict[str, np.ndarray | str]:
    """Return ``mean``, ``std``, ``min`` and ``max`` (bands,) of pixels with data, and ``dtype``.

    ``some`` are at most MOST_VALUES spread values.

    One pass with the update of Chan, Golub and LeVeque (1979), which loses no digits where the mean
    is large beside the deviation.

    Raises:
        UserError: Images differ in their bands or in the type of their values.
    """
    load = NamedErrors(load)
    count, mean, squares, low, high, dtypes = 0, 0.0, 0.0, np.inf, -np.inf, set()
    some, share = [], max(MOST_VALUES // max(len(paths), 1), 1)  # values of each image
    with Progress('images', len(paths)) as progress:
        for path in paths:
            results = load(dict(img_path=path))
            img = results['img']
            if len(dtypes) and img.shape[2] != len(mean):
                raise UserError(
                    f'{path} has {img.shape[2]} bands, but the images before it {len(mean)}; '
                    'choose with --bands, or remove what does not belong there'
                )
            dtypes.add(img.dtype.name)
            values = img.reshape(-1, img.shape[2]).astype(np.float64)
            valid = ~results.get('missing', np.zeros(img.shape, bool)).reshape(values.shape)
            number = valid.sum(0)
            own = values.sum(0, where=valid) / np.maximum(number, 1)
            delta, total = own - mean, np.maximum(count + number, 1)
            around = ((values - own) ** 2).sum(0, where=valid)
            squares = squares + around + delta**2 * count * number / total
            mean = mean + delta * number / total
            count = count + number
            low = np.minimum(low, values.min(0, where=valid, initial=np.inf))
            high = np.maximum(high, values.max(0, where=valid, initial=-np.inf))
            values = values[valid]
            some.append(values[spread(len(values), share)].astype(np.float32))
            progress.step()
    if len(dtypes) > 1:
        raise UserError(
            f'The images have different types of values: {", ".join(sorted(dtypes))}; one mean and '
            'one standard deviation do not fit them, convert them to one type'
        )
    if not np.all(count):
        raise UserError(
            f'Bands {np.flatnonzero(count == 0).tolist()} have no data in any image; leave them '
            'out with --bands, or correct --nodata'
        )
    std, some = np.sqrt(squares / count), np.concatenate(some)
    return dict(mean=mean, std=std, min=low, max=high, some=some, dtype=dtypes.pop())


def recommend(found: dict) -> list[str]:
    """Return the lines that say how to bring the values into [0, 1], by the observed range."""
    low, high = (float(f'{value:.6g}') for value in (found['min'].min(), found['max'].max()))
    if found['dtype'] == 'uint8':
        return ['token_scale=255.0,']
    lines = [f'token_scale={high or 1.0},']
    if low < 0:
        lines = [
            f'token_scale={float(f"{high - low:.6g}")},',
            f'# values are signed: LoadMultiBandImage(window=({low}, {high})) brings them to '
            f'[0, {high - low:.6g}]; mean, min and max then are larger by {-low:.6g}',
        ]
    some = found['some']
    start, end = (float(f'{n:.6g}') for n in np.percentile(some, (TAIL, 100 - TAIL)))
    if 0 < end - min(start, 0) < 0.5 * (high - min(low, 0)):
        start = start if low < 0 else low
        lines.append(
            f'# {100 - 2 * TAIL:g} % of the values are in [{start:.6g}, {end:.6g}]: if the others '
            f'are outliers, take LoadMultiBandImage(window=({start}, {end})) and '
            f'token_scale={end - start:.6g}'
        )
    for value in (some.min(), some.max()):
        others, share = some[some != value], (some == value).mean()
        is_frequent = FREQUENT < share < 1 - FREQUENT
        if is_frequent and abs(others - value).min() > np.ptp(others) > 0:
            lines.append(
                f'# {100 * share:.2g} % of the values are {value:.9g}, far from all others: if it '
                f'means no data, take --nodata and LoadMultiBandImage(nodata={value:.9g})'
            )
    return lines


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Mean and deviation of each band of a folder')
    parser.add_argument('folder')
    parser.add_argument('--channels', type=int)
    parser.add_argument('--bands', type=int, nargs='+')
    parser.add_argument('--layout', choices=['hwc', 'chw'], default='hwc', help='of .npy arrays')
    parser.add_argument('--nodata', type=float, help='value without data; else that of the file')
    parser.add_argument('--extensions', nargs='+', default=[*IMAGE_EXTENSIONS, '.npy'])
    parser.add_argument('--limit', type=positive_int, help='images, spread over the folder')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    dataset = UnlabelledImageFolder(args.folder, extensions=args.extensions)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    if args.limit:
        paths = [paths[i] for i in spread(len(paths), args.limit)]
    load = LoadMultiBandImage(args.channels, args.bands, args.layout, nodata=args.nodata)
    found = band_statistics(paths, load)
    for name in ('mean', 'std', 'min', 'max'):
        print(f'{name}={[float(f"{value:.6g}") for value in np.atleast_1d(found[name])]},')
    print(f'# {len(paths)} images, {len(found["mean"])} bands of type {found["dtype"]}')
    print(*recommend(found), sep='\n')
