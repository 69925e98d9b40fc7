"""Time `load_model(...).embed` beside a plain loop of the encoder with the same loader.

python benchmarks/embed.py MODEL IMAGES [--limit 1000] [--rounds 5] [--batch-size 32]

Both take the same files in turn, in one process and thread. The plain loop reads them by the
model's own transforms and averages the patch tokens; it names no files and checks nothing. It
prints the medians in seconds and their ratio.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torch.utils.data import DataLoader

from beit_mm import load_model
from beit_mm.apis import find_images


def plain(model, paths: list[str], batch_size: int) -> np.ndarray:
    """Return the mean patch tokens (N, C) of images, without anything around."""
    reader = model.reader([(path, path) for path in paths])
    backbone, found = model.module.backbone, []
    with torch.no_grad():
        for images in DataLoader(reader, batch_size, collate_fn=list):
            batch = torch.stack([image.inputs for image in images])
            inputs = model.preprocessor(dict(inputs=batch))['inputs']
            found.append(backbone.layer_tokens(inputs)[:, 1:].mean(1))
    return torch.cat(found).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model')
    parser.add_argument('images')
    parser.add_argument('--limit', type=int, default=1000)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--batch-size', type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model)
    paths = [name for name, _ in find_images(args.images)[0]][: args.limit]
    ways = dict(
        plain=lambda: plain(model, paths, args.batch_size),
        embed=lambda: model.embed(paths, batch_size=args.batch_size, progress=False).features,
    )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        found = []
        for name, way in ways.items():
            begin = time.perf_counter()
            found.append(way())
            seconds[name].append(time.perf_counter() - begin)
        np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    shown = ', '.join(f'{name} {value:.3f} s' for name, value in medians.items())
    ratio = medians['embed'] / medians['plain']
    print(f'{len(paths)} images: {shown}; embed takes {ratio:.3f} of the plain loop')


if __name__ == '__main__':
    main()
