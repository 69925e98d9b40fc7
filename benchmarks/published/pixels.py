"""Positions and pixels of other sizes, and what DALL-E's encoder is shown."""

import random
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image

from beit_mm.contracts.positions import resize_table, table_length
from beit_mm.datasets.transforms import TwoViewResizedCrop
from beit_mm.models.tokenizers import DALLETokenizer
from benchmarks.published.row import Published, compare_rule


def published_positions(source: int, target: int) -> list[float]:
    """Return offsets at the partial sums of a geometric series, its ratio found by bisection."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        if sum(q**i for i in range(source - 1)) > target - 1:
            high = q
        else:
            low = q
    side = [sum(q**i for i in range(n)) for n in range(1, source)]
    return [-d for d in reversed(side)] + [0.0] + side


def compare_table_resize() -> Iterator[Published]:
    from scipy.interpolate import RectBivariateSpline

    for source, target in (((14, 14), (32, 32)), ((14, 14), (40, 40)), ((14, 10), (12, 24))):
        torch.manual_seed(0)
        table = torch.randn(table_length(source), 2)
        ours = resize_table(table, source, target)
        rows, columns = (published_positions(s, t) for s, t in zip(source, target, strict=True))
        # FITPACK's surface of interp2d(kind='cubic'), which clips to the range that it knows.
        at = [
            np.clip(np.arange(1 - t, t), known[0], known[-1])
            for known, t in zip((rows, columns), target, strict=True)
        ]
        error = (ours[-3:] - table[-3:]).abs().max().item()
        for head in range(2):
            image = table[:-3, head].double().numpy().reshape(len(rows), len(columns))
            wanted = RectBivariateSpline(rows, columns, image, kx=3, ky=3, s=0)(*at)
            error = max(error, np.abs(ours[:-3, head].numpy() - wanted.ravel()).max())
        yield compare_rule(
            f'Table of {source[0]} x {source[1]} patches for {target[0]} x {target[1]}',
            f'geometric offsets, SciPy {version("scipy")} RectBivariateSpline',
            error,
            1e-4,
        )


def compare_second_view() -> Iterator[Published]:
    rng = np.random.default_rng(0)
    differing = 0
    for height, width in ((64, 48), (301, 402), (97, 500)):
        img = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        random.seed(height)
        made = TwoViewResizedCrop(224, token_size=112)(dict(img=img))
        top, left, h, w = made['crop']
        crop = Image.fromarray(img).crop((left, top, left + w, top + h))
        for key, side, method in (('img', 224, 'BICUBIC'), ('token_img', 112, 'LANCZOS')):
            wanted = np.asarray(crop.resize((side, side), Image.Resampling[method]))
            differing += int((made[key] != wanted).sum())
    yield compare_rule(
        'Pixels of both views that differ',
        f'the same crop, resized by Pillow {version("pillow")}',
        differing,
        0,
        '0',
        str(differing),
    )


def compare_dalle_pixels() -> Iterator[Published]:
    pixels = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    tokenizer, seen = DALLETokenizer(vocab_size=8, width=4, num_blocks=1), []
    tokenizer.encoder.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    tokenizer.encode(pixels / 255)
    yield compare_rule(
        "Pixels 0 to 255 at DALL-E's input",
        'openai/DALL-E dall_e/utils.py, as (x + 31.875) / 318.75',
        (seen[0] - (pixels + 31.875) / 318.75).abs().max().item(),
        1e-6,
    )
