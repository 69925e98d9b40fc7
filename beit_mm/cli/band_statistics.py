"""Compute mean and deviation of the bands of images (tools/analysis_tools/band_statistics.py)."""

import argparse

import numpy as np

from beit_mm.cli.arguments import positive_int
from beit_mm.cli.progress import Progress
from beit_mm.cli.spread import spread
from beit_mm.contracts import UserError
from beit_mm.datasets import UnlabelledImageFolder
from beit_mm.datasets.transforms import LoadMultiBandImage
from beit_mm.datasets.unlabelled_image_folder import IMAGE_EXTENSIONS


def band_statistics(paths: list[str], load: LoadMultiBandImage) -> dict[str, np.ndarray | str]:
    """Return ``mean``, ``std``, ``min`` and ``max`` (bands,) over all pixels, and ``dtype``.

    One pass with the update of Chan, Golub and LeVeque (1979), which loses no digits where the mean
    is large beside the deviation.

    Raises:
        UserError: Images differ in their bands or in the type of their values.
    """
    count, mean, squares, low, high, dtypes = 0, 0.0, 0.0, np.inf, -np.inf, set()
    with Progress('images', len(paths)) as progress:
        for path in paths:
            img = load.transform(dict(img_path=path))['img']
            if count and img.shape[2] != len(mean):
                raise UserError(
                    f'{path} has {img.shape[2]} bands, but the images before it {len(mean)}; '
                    'choose with --bands, or remove what does not belong there'
                )
            dtypes.add(img.dtype.name)
            values = img.reshape(-1, img.shape[2]).astype(np.float64)
            number, own = len(values), values.mean(0)
            delta, total = own - mean, count + number
            spread = ((values - own) ** 2).sum(0)
            squares = squares + spread + delta**2 * count * number / total
            mean = mean + delta * number / total
            count = total
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
            progress.step()
    if len(dtypes) > 1:
        raise UserError(
            f'The images have different types of values: {", ".join(sorted(dtypes))}; one mean and '
            'one standard deviation do not fit them, convert them to one type'
        )
    return dict(mean=mean, std=np.sqrt(squares / count), min=low, max=high, dtype=dtypes.pop())


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
    if found['dtype'].startswith('float'):
        print('# token_scale: the value that is white to the tokenizer, for example the max')
    else:
        print(f'token_scale={float(np.iinfo(found["dtype"]).max)},')
