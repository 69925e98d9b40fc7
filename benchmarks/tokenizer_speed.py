"""Time the frozen tokenizer of a pre-training by memory format and precision, and compare its ids.

    OMP_NUM_THREADS=1 python benchmarks/tokenizer_speed.py                     # DALL-E's, random
    OMP_NUM_THREADS=1 python benchmarks/tokenizer_speed.py --model WORK_DIR --images FOLDER

The ids of a trained tokenizer on real images say what a faster way costs; those of random weights
do not. The ways take turns; run it where nothing else runs.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import beit_mm
from beit_mm.apis import find_images
from beit_mm.contracts import Tokenizer
from beit_mm.models.tokenizers import DALLETokenizer

WAYS = {
    'float32': (torch.contiguous_format, None),
    'float32, channels last': (torch.channels_last, None),
    'bfloat16': (torch.contiguous_format, torch.bfloat16),
    'bfloat16, channels last': (torch.channels_last, torch.bfloat16),
}


def encode(tokenizer: Tokenizer, images: Tensor, layout, dtype) -> Tensor:
    with torch.no_grad(), torch.autocast(images.device.type, dtype, enabled=dtype is not None):
        return tokenizer.encode(images.contiguous(memory_format=layout))


def measure(tokenizer: Tokenizer, batches: list[Tensor], rounds: int) -> dict[str, dict]:
    """Return the median seconds of a batch, and percents of changed ids, of each way."""
    times = {name: [] for name in WAYS}
    changed, total = dict.fromkeys(WAYS, 0), 0
    for number in range(rounds + 1):
        images = batches[number % len(batches)]
        for name, (layout, dtype) in WAYS.items():
            tokenizer.to(memory_format=layout)
            start = time.perf_counter()
            encode(tokenizer, images, layout, dtype)
            if number:  # the first one warms up
                times[name].append(time.perf_counter() - start)
    for images in batches:
        found = {}
        for name, (layout, dtype) in WAYS.items():
            tokenizer.to(memory_format=layout)
            found[name] = encode(tokenizer, images, layout, dtype)
            changed[name] += int((found[name] != found['float32']).sum())
        total += found['float32'].numel()
    return {
        name: dict(
            seconds=statistics.median(times[name]), changed=100 * changed[name] / total, ids=total
        )
        for name in WAYS
    }


def read(model, folder: Path, batch: int, limit: int) -> list[Tensor]:
    """Return batches (B, C, H, W) in [0, 1] of a folder, read as in the training."""
    paths = find_images(str(folder))[0][:limit]
    views = [item.inputs for item in model.reader(paths)]
    scaled = model.preprocessor(dict(inputs=torch.stack(views)))['inputs']
    return [part for part in scaled.split(batch) if len(part) == batch]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', help='work dir or checkpoint of a trained tokenizer')
    parser.add_argument('--images', type=Path, help='a folder')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--limit', type=int, default=256, help='images')
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--quick', action='store_true', help='a narrower network, three rounds')
    parser.add_argument('--out', type=Path, help='JSON of all figures')
    args = parser.parse_args()
    rounds = 3 if args.quick else args.rounds
    if args.model:
        model = beit_mm.load_model(args.model)
        tokenizer, batches = model.module, read(model, args.images, args.batch, args.limit)
    else:
        torch.manual_seed(0)
        tokenizer = DALLETokenizer(width=32 if args.quick else 256).eval()
        noise = np.random.default_rng(0).random((args.batch, 3, 112, 112), np.float32)
        batches = [torch.from_numpy(noise)]
    found = measure(tokenizer, batches, rounds)
    first = found['float32']['seconds']
    for name, figures in found.items():
        print(
            f'| {name} | {1e3 * figures["seconds"]:,.1f} | {figures["seconds"] / first:.2f} | '
            f'{figures["changed"]:.3f} |'
        )
    print(f'milliseconds a batch of {args.batch}, ratio, percent of {figures["ids"]:,} ids changed')
    if args.out:
        args.out.write_text(json.dumps(found | dict(torch=torch.__version__), indent=2))


if __name__ == '__main__':
    main()
