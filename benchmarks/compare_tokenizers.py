"""Train or load several tokenizers on one data set and compare what they are good for.

    python benchmarks/compare_tokenizers.py [CONFIG[=CHECKPOINT] ...] [--seeds 0 1 2]
        [--steps 1000] [--tokenizer-steps N] [--work-dir work_dirs/compare_tokenizers]
        [--speed] [--smoke]

For each one: reconstruction (PSNR, SSIM), use of the vocabulary over the validation images, and
what an equally short masked image modeling with its tokens gives: the part of the tokens' entropy
that is predicted, and accuracy of k nearest neighbors and of a linear probe on frozen features.
The results go to results.json and table.md in the work dir, with several seeds as mean (range).
Finished stages are skipped when it is run again, those that were stopped go on. A tokenizer that
fails (CodebookGuardHook stops one that collapses) is named in the table, and the others go on. One
whose perplexity in validation CodebookGuardHook would not accept is marked as collapsed.

Without CONFIG it takes those of digit scenes (python tools/dataset_converters/digit_scenes.py
data/digit_scenes). A CONFIG of a masked image model stands for its tokenizer. For other images:

    --data DIR       its folders --train-folder and --val-folder, else those that --pretrain names
    --pretrain FILE  the pre-training for the size and the patches of these images. Its
                     val_dataloader and data_preprocessor say how images are loaded and scaled
                     for all figures
    --stride N       pixels per token of all tokenizers, instead of what their configs say
    --dense N        labels are those of patches, from masks with N classes in DIR/masks/{train,val}
                     (names as the images', .png); else they are the class folders of DIR/train
                     and of --val-folder, whatever is nested in them

--perceptual FILE, a config with `backbone=dict(...)` and perhaps mean and std, adds the distance of
that backbone's features (LPIPS' idea, see PerceptualReconLoss). --speed times the encoding: for a
machine that does nothing else. --steps 0 compares the tokenizers alone, without a pre-training.
--tokenizer-steps gives all of them the same length, with what their configs schedule in proportion;
k-means always takes one pass.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

import beit_mm  # noqa: F401  (before mmpretrain)
from beit_mm.cli.run_tool import run_tool
from beit_mm.contracts import UserError
from benchmarks.tokenizers.comparison import Comparison
from benchmarks.tokenizers.table import make_table

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = [
    'configs/tokenizer/dvae_light-v256_digit-scenes.py',
    'configs/tokenizer/dvae_light-v256-usage_digit-scenes.py',
    'configs/tokenizer/dvae_reinmax-v256_digit-scenes.py',
    'configs/tokenizer/dvae_patch-v256_digit-scenes.py',
    'configs/tokenizer/dvae_dalle-pytorch-v256_digit-scenes.py',
    'configs/tokenizer/vqvae_ema-v256_digit-scenes.py',
    'configs/tokenizer/rvq_16x2-v256_digit-scenes.py',
    'configs/tokenizer/fsq_8x6x5-v240_digit-scenes.py',
    'configs/tokenizer/lfq_v256_digit-scenes.py',
    'configs/tokenizer/bsq_v256_digit-scenes.py',
    'configs/tokenizer/kmeans_pixels-v256_digit-scenes.py',
    'configs/tokenizer/kmeans_hog-v256_digit-scenes.py',
    'configs/pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py',
]


def compare(args: argparse.Namespace) -> list[dict]:
    """Return the figures of all tokenizers with all seeds; write the table after each."""
    init_default_scope('beit_mm')
    MMLogger.get_instance('compare_tokenizers', log_level='ERROR')  # each weight is a line else
    results, seconds = [], []
    words = args.tokenizers or DEFAULT
    total = len(args.seeds) * len(words)
    for seed in args.seeds:
        comparison = Comparison(args, seed)
        images = comparison.images
        print(
            f'Training on {images.root / images.train_folder}, '
            f'validation on {images.root / images.val_folder}',
            flush=True,
        )
        if args.steps:
            images.check_labels()
        for name, config, checkpoint in comparison.entries(words):
            left = sum(seconds) / max(len(seconds), 1) * (total - len(results)) / 60
            eta = f', about {left:.0f} min to go' if seconds else ''
            print(f'[{len(results) + 1}/{total}] {name}, seed {seed}{eta}', flush=True)
            start = time.perf_counter()
            results.append(comparison.row(name, config, checkpoint))
            took = time.perf_counter() - start
            seconds += [took] if took > 5 else []  # others were done before
            write(args, results)
    print(make_table(results))
    print(f'Wrote {args.work_dir / "results.json"} and {args.work_dir / "table.md"}')
    return results


def write(args: argparse.Namespace, results: list[dict]) -> None:
    """Write results.json and table.md to the work dir."""
    args.work_dir.mkdir(parents=True, exist_ok=True)
    command = ' '.join(['python', 'benchmarks/compare_tokenizers.py', *sys.argv[1:]])
    settings = dict(command=command, steps=args.steps, seeds=args.seeds)
    text = json.dumps(dict(**settings, tokenizers=results), indent=2)
    (args.work_dir / 'results.json').write_text(text + '\n')
    (args.work_dir / 'table.md').write_text(make_table(results) + f'\n`{command}`\n')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Tokenizers side by side')
    parser.add_argument('tokenizers', nargs='*', metavar='CONFIG[=CHECKPOINT]')
    parser.add_argument('--data', type=Path, default=Path('data/digit_scenes'))
    parser.add_argument('--train-folder', help='of DIR, without labels')
    parser.add_argument('--val-folder', help='of DIR')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/compare_tokenizers'))
    pretrain = ROOT / 'configs/pretrain/beit_beit-micro-p8_digit-scenes.py'
    parser.add_argument(
        '--pretrain', type=Path, default=pretrain, help='config of the pre-training'
    )
    parser.add_argument(
        '--steps',
        type=int,
        default=1000,
        help='of each pre-training; 0 leaves it and its probes out',
    )
    parser.add_argument(
        '--tokenizer-steps',
        type=int,
        metavar='N',
        help="of each tokenizer's training, with its schedules in proportion; else those of its "
        'config',
    )
    parser.add_argument('--stride', type=int, help='pixels per token, of all tokenizers')
    parser.add_argument(
        '--labelled',
        default='meta/train_2000.txt',
        help='list `file label` of images in DIR/train for the probes; without it 2,000 of that '
        'folder are taken at equal distances',
    )
    parser.add_argument('--dense', type=int, metavar='N', help='probe patches, by masks')
    parser.add_argument('--perceptual', type=Path, metavar='FILE', help='config of a backbone')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--speed', action='store_true', help='time the encoding (quiet machine!)')
    parser.add_argument('--smoke', action='store_true', help='2 steps each; figures mean nothing')
    args = parser.parse_args()
    if args.tokenizer_steps is not None and args.tokenizer_steps < 1:
        parser.error(f'--tokenizer-steps {args.tokenizer_steps}: expected 1 or more')
    args.data = args.data.resolve()
    return args


def main() -> None:
    results = compare(parse_args())
    if failed := [f'{r["name"]} (seed {r["seed"]})' for r in results if 'failed' in r]:
        raise UserError(f'Without figures: {", ".join(failed)}; the reasons are above')


if __name__ == '__main__':
    run_tool(main)
