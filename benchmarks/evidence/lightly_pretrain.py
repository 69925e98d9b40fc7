"""Pre-train the encoder of docs/results.md by SimCLR of lightly-train, in as many CPU minutes.

It runs in an environment of its own, `pip install lightly-train timm`, whose interpreter
`python -m benchmarks.evidence lightly --python PATH` takes. A trial says how long an epoch takes.
OUT/iter_N.pth has the weights under the names of mmpretrain's VisionTransformer.
"""

import argparse
import json
import re
import shutil
import time
from pathlib import Path

import lightly_train
import torch

BATCH, TRIAL = 128, 10  # images of a step, and steps of an epoch of the trial
MODEL = dict(img_size=32, patch_size=4, embed_dim=128, depth=4, num_heads=4, num_classes=0)
CIFAR10 = dict(mean=[0.4914, 0.4822, 0.4465], std=[0.2023, 0.1994, 0.201])
NAMES = (
    (r'^patch_embed\.proj', 'patch_embed.projection'),
    (r'^blocks', 'layers'),
    (r'\.norm([12])\.', r'.ln\1.'),
    (r'\.mlp\.fc1', '.ffn.layers.0.0'),
    (r'\.mlp\.fc2', '.ffn.layers.1'),
)


def pretrain(files: list[str], out: Path, epochs: int, seed: int, precision: str) -> float:
    """Return the seconds of the processor that a training of this length took."""
    begin = time.process_time()
    lightly_train.pretrain(
        out=str(out),
        data=files,
        model='timm/vit_tiny_patch16_224',
        model_args=MODEL,
        method='simclr',
        epochs=epochs,
        batch_size=BATCH,
        num_workers=0,
        accelerator='cpu',
        devices=1,
        precision=precision,
        seed=seed,
        optim='adamw',  # the default, SGD at 0.3, is for convolutions: 1,248 steps taught nothing
        overwrite=True,
        transform_args=dict(image_size=(32, 32), normalize=CIFAR10),
    )
    return time.process_time() - begin


def renamed(name: str) -> str:
    """Return mmpretrain's name of a weight of timm."""
    for pattern, by in NAMES:
        name = re.sub(pattern, by, name)
    return f'backbone.{name}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('images', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--minutes', type=float, required=True, help='of the processor')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--precision', default='bf16-mixed')
    parser.add_argument('--limit', type=int, help='images')
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(str(path) for path in args.images.rglob('*') if path.is_file())[: args.limit]
    run = args.out / 'lightly'
    few = files[: TRIAL * BATCH]
    once = pretrain(few, run, 1, args.seed, args.precision)
    epoch = pretrain(few, run, 2, args.seed, args.precision) - once  # without the start
    steps = len(files) // BATCH
    epochs = max(round(60 * args.minutes / (epoch * steps / TRIAL)), 1)
    seconds = pretrain(files, run, epochs, args.seed, args.precision)
    weights = torch.load(run / 'exported_models/exported_last.pt', weights_only=True)
    path = args.out / f'iter_{steps * epochs}.pth'
    torch.save(dict(state_dict={renamed(name): value for name, value in weights.items()}), path)
    (args.out / 'last_checkpoint').write_text(str(path))
    (args.out / 'figures.json').write_text(
        json.dumps(
            dict(steps=steps * epochs, cpu_seconds=round(seconds, 1), torch=torch.__version__)
            | dict(lightly_train=lightly_train.__version__)
        )
    )
    shutil.rmtree(run)


if __name__ == '__main__':  # lightly-train imports it again in its processes
    main()
