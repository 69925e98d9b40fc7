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

MOST_VALUES, SHARE = 10**6, 99.9  # values that the percentile is taken of


def band_statistics(paths: list[str], load: LoadMultiBandImage) -> dict[str, np.ndarray | str]:
    """Return ``mean``, ``std``, ``min`` and ``max`` (bands,) over all pixels, and ``dtype``.

    ``most`` is the value that 99.9 % of at most MOST_VALUES spread values do not exceed.

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
            img = load(dict(img_path=path))['img']
            if count and img.shape[2] != len(mean):
                raise UserError(
                    f'{path} has {img.shape[2]} bands, but the images before it {len(mean)}; '
                    'choose with --bands, or remove what does not belong there'
                )
            dtypes.add(img.dtype.name)
            values = img.reshape(-1, img.shape[2]).astype(np.float64)
            number, own = len(values), values.mean(0)
            delta, total = own - mean, count + number
            around = ((values - own) ** 2).sum(0)
            squares = squares + around + delta**2 * count * number / total
            mean = mean + delta * number / total
            count = total
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
            some.append(values.ravel()[spread(values.size, share)].astype(np.float32))
            progress.step()
    if len(dtypes) > 1:
        raise UserError(
            f'The images have different types of values: {", ".join(sorted(dtypes))}; one mean and '
            'one standard deviation do not fit them, convert them to one type'
        )
    most = float(np.percentile(np.concatenate(some), SHARE))
    std = np.sqrt(squares / count)
    return dict(mean=mean, std=std, min=low, max=high, most=most, dtype=dtypes.pop())


def recommend(found: dict) -> list[str]:
    """Return the lines that say how to bring the values into [0, 1], by the observed range."""
    low, high = (float(f'{value:.6g}') for value in (found['min'].min(), found['max'].max()))
    if found['dtype'] == 'uint8':
        return ['token_scale=255.0,']
    if low < 0:
        return [
            f'token_scale={float(f"{high - low:.6g}")},',
            f'# values are signed: LoadMultiBandImage(window=({low}, {high})) brings them to '
            f'[0, {high - low:.6g}]; mean, min and max then are larger by {-low:.6g}',
        ]
    lines = [f'token_scale={high or 1.0},']
    if 0 < found['most'] < 0.5 * high:
        lines.append(
            f'# {SHARE} % of the values are at most {found["most"]:.6g}: if larger ones are '
            f'outliers, take LoadMultiBandImage(window=({low}, {found["most"]:.6g})) and '
            f'token_scale={found["most"] - low:.6g}'
        )
    return lines


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Mean and deviation of each band of a folder')
    parser.add_argument('folder')
    parser.add_argument('--channels', type=int)
    parser.add_argument('--bands', type=int, nargs='+')
    parser.add_argument('--layout', choices=['hwc', 'chw'], default='hwc', help='of .npy arrays')
    parser.add_argument('--extensions', nargs='+', default=[*IMAGE_EXTENSIONS, '.npy'])
    parser.add_argument('--limit', type=positive_int, help='images, spread over the folder')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    dataset = UnlabelledImageFolder(args.folder, extensions=args.extensions)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    if args.limit:
        paths = [paths[i] for i in spread(len(paths), args.limit)]
    load = LoadMultiBandImage(channels=args.channels, bands=args.bands, layout=args.layout)
    found = band_statistics(paths, load)
    for name in ('mean', 'std', 'min', 'max'):
        print(f'{name}={[float(f"{value:.6g}") for value in np.atleast_1d(found[name])]},')
    print(f'# {len(paths)} images, {len(found["mean"])} bands of type {found["dtype"]}')
    print(*recommend(found), sep='\n')
