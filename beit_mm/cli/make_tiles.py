"""Cut large images into tiles (tools/dataset_converters/tiles.py)."""

import argparse
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from beit_mm.cli.arguments import positive_float, positive_int
from beit_mm.contracts import MissingFileError, UserError, printable
from beit_mm.datasets.image_files import check_image_file
from beit_mm.progress import Progress

ENDINGS = {'.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp', '.webp'}


def read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise MissingFileError(f'There is no {path}; --masks needs one for each image')
    try:
        check_image_file(path)
    except UserError as error:
        raise UserError(f'{path} {error}') from None
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f'{path} is not an image that OpenCV can read')
    return image


def corners(length: int, size: int) -> range:
    """Return the first pixels of the tiles along a side; the rest is divided between both ends."""
    start = length % size // 2
    return range(start, length - size + 1, size)


def cut(
    image: np.ndarray, args: argparse.Namespace, interpolation: int, out: Path, name: Path
) -> int:
    """Scale an image, write its tiles as OUT/NAME_row_column.png and return their number."""
    if args.scale != 1:
        image = cv2.resize(image, None, fx=args.scale, fy=args.scale, interpolation=interpolation)
    places = list(product(*(corners(side, args.size) for side in image.shape[:2])))
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    for top, left in places:
        path = out / f'{name}_{top}_{left}.png'
        if not cv2.imwrite(str(path), image[top : top + args.size, left : left + args.size]):
            raise UserError(f'{path} could not be written')
    return len(places)


def find_images(folder: Path) -> dict[Path, Path]:
    """Return the images in a folder by their paths in it, without the ending."""
    files = [path for path in sorted(folder.rglob('*')) if path.suffix.lower() in ENDINGS]
    if not files:
        raise MissingFileError(f'{folder} has no images ({", ".join(sorted(ENDINGS))})')
    found = {}
    for path in files:
        name = path.relative_to(folder).with_suffix('')
        if name in found:
            raise UserError(f'{folder}: several images are named {name}, by their endings only')
        found[name] = path
    return found


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Cut images into tiles')
    parser.add_argument('images', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--size', type=positive_int, required=True, help='pixels per side')
    parser.add_argument('--scale', type=positive_float, default=1.0, help='resize before')
    parser.add_argument('--masks', type=Path, nargs=2, metavar=('MASKS', 'OUT_MASKS'))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    for folder in [args.out, *(args.masks or [])[1:]]:
        if folder.exists():
            raise UserError(f'{folder} exists already; name a new folder')
    files, number, small = find_images(args.images), 0, []
    with Progress('images', len(files)) as progress:
        for name, path in files.items():
            image = read(path)
            tiles = cut(image, args, cv2.INTER_AREA, args.out, name)
            small += [] if tiles else [path]
            number += tiles
            if args.masks:
                file = (args.masks[0] / name).with_suffix('.png')
                mask = read(file)
                if mask.shape[:2] != image.shape[:2]:
                    sides = f'{mask.shape[:2]}, its image {image.shape[:2]}'
                    raise UserError(f'{file} is {sides} pixels')
                cut(mask, args, cv2.INTER_NEAREST, args.masks[1], name)
            progress.step()
    print(f'{number} tiles of {len(files)} images in {args.out}')
    if small:
        rest = f'{len(small)} images are smaller than a tile and gave none, such as {small[0]}'
        print(printable(rest))
