"""Time BEiTEncoder with its relative position bias kept, gathered, or absent.

    python benchmarks/encoder.py --size 224 512 --batch 8 --device cuda

Prints medians and their ratios to the encoder without a bias; run it where nothing else runs.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from beit_mm.models.backbones import BEiTEncoder

VARIANTS = {
    'no bias': dict(rel_pos=None),
    'shared, kept': dict(rel_pos='shared', position_cache_mb=1 << 20),
    'shared, gathered': dict(rel_pos='shared', position_cache_mb=0),
    'per layer, kept': dict(rel_pos='per_layer', position_cache_mb=1 << 20),
    'per layer, gathered': dict(rel_pos='per_layer', position_cache_mb=0),
}


def seconds(model: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype | None) -> float:
    with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype is not None):
        if x.is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        model(x)
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--arch', default='base')
    parser.add_argument('--size', type=int, nargs='+', default=[224, 512])
    parser.add_argument('--trained-size', type=int, help='img_size; by default each --size')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', choices=['bfloat16', 'float16'], help='autocast to it')
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype) if args.dtype else None
    print(f'torch {torch.__version__}, {args.device}, {args.threads} threads, batch {args.batch},')
    print(f'{args.arch}, {args.dtype or "float32"}, median of {args.rounds} rounds')
    for size in args.size:
        models = {
            name: BEiTEncoder(args.arch, img_size=args.trained_size or size, **kwargs)
            .to(args.device)
            .eval()
            for name, kwargs in VARIANTS.items()
        }
        x = torch.randn(args.batch, 3, size, size, device=args.device)
        times = {name: [] for name in models}
        for index in range(args.rounds + 2):  # alternating, so that drifts meet all of them
            for name, model in models.items():
                took = seconds(model, x, dtype)
                if index >= 2:  # the first ones warm up
                    times[name].append(took)
        medians = {name: statistics.median(values) for name, values in times.items()}
        print(f'\n{size} x {size} pixels')
        for name, median in medians.items():
            print(f'  {name:20} {1e3 * median:9.2f} ms  x {median / medians["no bias"]:.3f}')


if __name__ == '__main__':
    main()
