"""Cut large images, and their masks, into tiles of one size.

python tools/dataset_converters/tiles.py IMAGES OUT --size 64 [--scale 1.0]
                                         [--masks MASKS OUT_MASKS]

IMAGES/a/b.jpg becomes OUT/a/b_0_0.png, OUT/a/b_0_64.png ..., named by the row and column of their
first pixel: as many whole tiles as fit, from the middle of the image, without overlap. All bands
and 16 bits are kept. --scale resizes before (images by area averaging, masks by nearest pixel).
A mask has the image's name in MASKS, with the ending .png, and its size. OUT must be new.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from mmengine.utils import ProgressBar

ENDINGS = {'.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp', '.webp'}


def read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}; --masks needs one for each image')
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f'{path} is not an image that OpenCV can read')
    return image


def scaled(image: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    if scale == 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation)


def corners(length: int, size: int) -> range:
    """First pixels of the tiles along a side, the rest divided between both ends."""
    start = length % size // 2
    return range(start, length - size + 1, size)


def cut(image: np.ndarray, size: int, out: Path) -> int:
    """Write the tiles as OUT_row_column.png."""
    out.parent.mkdir(parents=True, exist_ok=True)
    number = 0
    for top in corners(image.shape[0], size):
        for left in corners(image.shape[1], size):
            path = out.with_name(f'{out.name}_{top}_{left}.png')
            if not cv2.imwrite(str(path), image[top : top + size, left : left + size]):
                raise ValueError(f'{path} could not be written')
            number += 1
    return number


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Cut images into tiles')
    parser.add_argument('images', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--size', type=int, required=True, help='pixels per side')
    parser.add_argument('--scale', type=float, default=1.0, help='resize before')
    parser.add_argument('--masks', type=Path, nargs=2, metavar=('MASKS', 'OUT_MASKS'))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    for key in ('size', 'scale'):
        if getattr(args, key) <= 0:
            raise ValueError(f'--{key} {getattr(args, key)}: expected a positive number')
    for folder in [args.out, *(args.masks or [])[1:]]:
        if folder.exists():
            raise ValueError(f'{folder} exists already; name a new folder')
    files = [path for path in sorted(args.images.rglob('*')) if path.suffix.lower() in ENDINGS]
    if not files:
        raise FileNotFoundError(f'{args.images} has no images ({", ".join(sorted(ENDINGS))})')
    stems = [path.relative_to(args.images).with_suffix('') for path in files]
    if twice := [str(stem) for stem in stems if stems.count(stem) > 1]:
        raise ValueError(
            f'{args.images}: several images are named {twice[0]}, by their endings only'
        )
    bar, number, small = ProgressBar(len(files)), 0, []
    for path, stem in zip(files, stems, strict=True):
        image = read(path)
        tiles = cut(scaled(image, args.scale, cv2.INTER_AREA), args.size, args.out / stem)
        small += [] if tiles else [path]
        number += tiles
        if args.masks:
            file = (args.masks[0] / stem).with_suffix('.png')
            mask = read(file)
            if mask.shape[:2] != image.shape[:2]:
                raise ValueError(f'{file} is {mask.shape[:2]}, its image {image.shape[:2]} pixels')
            mask = scaled(mask, args.scale, cv2.INTER_NEAREST)
            cut(mask, args.size, args.masks[1] / stem)
        bar.update()
    print(f'\n{number} tiles of {len(files)} images in {args.out}')
    if small:
        print(f'{len(small)} images are smaller than a tile and gave none, such as {small[0]}')


if __name__ == '__main__':
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
