"""Mean and standard deviation of each band of a folder of images, as a config wants them.

python tools/analysis_tools/band_statistics.py FOLDER [--channels N] [--bands 0 1 2] [--layout chw]
    [--extensions .png .tif .npy] [--limit 1000]

Images are read by LoadMultiBandImage: any number of bands, their own bit depth, RGB as RGB.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

import numpy as np  # noqa: E402
from mmengine.utils import track_iter_progress  # noqa: E402

from beit_mm.datasets import UnlabelledImageFolder  # noqa: E402
from beit_mm.datasets.transforms import LoadMultiBandImage  # noqa: E402
from beit_mm.datasets.unlabelled_image_folder import IMAGE_EXTENSIONS  # noqa: E402


def band_statistics(paths: list[str], load: LoadMultiBandImage) -> dict[str, np.ndarray | str]:
    """``mean``, ``std``, ``min`` and ``max`` over all pixels of all images, and ``dtype``.

    One pass with the update of Chan, Golub and LeVeque (1979), which loses no digits where the mean
    is large beside the deviation.
    """
    count, mean, squares, low, high, dtypes = 0, 0.0, 0.0, np.inf, -np.inf, set()
    for path in track_iter_progress(paths):
        img = load.transform(dict(img_path=path))['img']
        if count and img.shape[2] != len(mean):
            raise ValueError(
                f'{path} has {img.shape[2]} bands, but the images before it {len(mean)}; choose '
                'with --bands, or remove what does not belong there'
            )
        dtypes.add(img.dtype.name)
        values = img.reshape(-1, img.shape[2]).astype(np.float64)
        number, own = len(values), values.mean(0)
        delta = own - mean
        squares = (
            squares + ((values - own) ** 2).sum(0) + delta**2 * count * number / (count + number)
        )
        mean = mean + delta * number / (count + number)
        count += number
        low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
    if len(dtypes) > 1:
        raise ValueError(
            f'The images have different types of values: {", ".join(sorted(dtypes))}; one mean and '
            'one standard deviation do not fit them, convert them to one type'
        )
    return dict(mean=mean, std=np.sqrt(squares / count), min=low, max=high, dtype=dtypes.pop())


def main() -> None:
    parser = argparse.ArgumentParser(description='Mean and deviation of each band of a folder')
    parser.add_argument('folder')
    parser.add_argument('--channels', type=int)
    parser.add_argument('--bands', type=int, nargs='+')
    parser.add_argument('--layout', choices=['hwc', 'chw'], default='hwc', help='of .npy arrays')
    parser.add_argument('--extensions', nargs='+', default=[*IMAGE_EXTENSIONS, '.npy'])
    parser.add_argument('--limit', type=int, help='use this many images, spread over the folder')
    args = parser.parse_args()
    dataset = UnlabelledImageFolder(args.folder, extensions=args.extensions)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    if args.limit:
        chosen = np.unique(np.linspace(0, len(paths) - 1, args.limit).astype(int))
        paths = [paths[i] for i in chosen]
    load = LoadMultiBandImage(channels=args.channels, bands=args.bands, layout=args.layout)
    found = band_statistics(paths, load)
    for name in ('mean', 'std', 'min', 'max'):
        print(f'{name}={[float(f"{value:.6g}") for value in np.atleast_1d(found[name])]},')
    print(f'# {len(paths)} images, {len(found["mean"])} bands of type {found["dtype"]}')
    if found['dtype'].startswith('float'):
        print('# token_scale: the value that is white to the tokenizer, for example the max')
    else:
        print(f'token_scale={float(np.iinfo(found["dtype"]).max)},')


if __name__ == '__main__':
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
