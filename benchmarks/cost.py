"""Measure how the cost of a pre-training step grows, beside the count of its multiplications.

    OMP_NUM_THREADS=1 python benchmarks/cost.py [--quick] [--out FILE]

One axis at a time: batch, image size, vocabulary, size of the encoder. A step is forward and
backward of BEiT-S/16 in bfloat16, batch 4, 8192 given tokens, without an optimizer. "theory" is
the number of multiplications, relative to the first row of the axis as "time" is; MiB are what a
step keeps for its backward pass. Run it where nothing else runs.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn as nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from beit_mm.models.backbones import BEiTEncoder
from beit_mm.models.heads import VisualTokenHead
from beit_mm.models.necks import MaskedPatchNeck
from benchmarks.training_step import saved_bytes

PATCH, SHARE = 16, 0.4


class Step(NamedTuple):
    """What a step costs by; ``max_logits`` is that of the head."""

    batch: int = 4
    image: int = 224
    vocab: int = 8192
    arch: str = 'small'
    max_logits: int | None = None

    @property
    def multiplications(self) -> float:
        """Of matrix products: 12 C^2 and 2 N C for each token and layer, and the head."""
        sizes = BEiTEncoder.arch_settings[self.arch]
        dims, layers = sizes['embed_dims'], sizes['num_layers']
        patches = (self.image // PATCH) ** 2
        tokens = patches + 1
        encoder = layers * tokens * (12 * dims**2 + 2 * tokens * dims)
        embedding = patches * 3 * PATCH**2 * dims
        head = self.masked * dims * self.vocab
        head *= 4 / 3 if self.max_logits else 1  # the logits once more, beside three products
        return self.batch * (encoder + embedding + head)

    @property
    def masked(self) -> int:
        return int(SHARE * (self.image // PATCH) ** 2)


AXES = {
    'batch': [Step(batch=number) for number in (1, 2, 4, 8, 16)],
    'image': [Step(batch=1, image=size) for size in (224, 384, 512, 768, 1024)],
    'vocabulary': [Step(vocab=size) for size in (512, 8192, 32768, 65536)],
    'vocabulary, max_logits=2**22': [
        Step(vocab=size, max_logits=2**22) for size in (512, 8192, 32768, 65536)
    ],
    'encoder': [Step(arch=name) for name in ('micro', 'tiny', 'small', 'base')],
}
LABELS = dict(batch='batch', image='image', vocabulary='vocab', encoder='arch')


def measure(step: Step, rounds: int) -> dict:
    """Return the median seconds of a step and the bytes that it keeps."""
    torch.manual_seed(0)
    backbone = BEiTEncoder(step.arch, img_size=step.image, patch_size=PATCH)
    head = VisualTokenHead(step.vocab, backbone.embed_dims, max_logits=step.max_logits)
    model = nn.ModuleDict(dict(backbone=backbone, neck=MaskedPatchNeck(backbone.embed_dims)))
    model['head'] = head
    x = torch.randn(step.batch, 3, step.image, step.image)
    side = step.image // PATCH
    mask = torch.zeros(step.batch, side * side, dtype=torch.bool)
    mask[:, : step.masked] = True
    mask = mask.view(-1, side, side)
    ids = torch.arange(step.batch * step.masked) % step.vocab

    def run() -> None:
        with torch.autocast('cpu', torch.bfloat16):
            loss = head.loss(model['neck'](backbone(x, mask), mask), ids)['loss']
        loss.backward()
        model.zero_grad(set_to_none=True)

    saved = saved_bytes(model, run)  # warms up as well
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return dict(step._asdict(), seconds=statistics.median(times), saved=saved)


def table(axis: str, steps: list[Step], rows: list[dict]) -> str:
    label = LABELS[axis.partition(',')[0]]
    lines = [f'| {axis} | ms | time | theory | MiB |', '|---' * 5 + '|']
    for step, row in zip(steps, rows, strict=True):
        time_ratio = row['seconds'] / rows[0]['seconds']
        theory = step.multiplications / steps[0].multiplications
        value = row[label]
        value = f'{value:,}' if isinstance(value, int) else value
        lines.append(
            f'| {value} | {1e3 * row["seconds"]:,.0f} | {time_ratio:.2f} | {theory:.2f} | '
            f'{row["saved"] / 2**20:,.0f} |'
        )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--quick', action='store_true', help='two rows of each axis, a round each')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, help='JSON of all rows')
    args = parser.parse_args()
    found = {}
    for axis, steps in AXES.items():
        steps = steps[:2] if args.quick else steps
        found[axis] = [measure(step, 1 if args.quick else args.rounds) for step in steps]
        print(f'{table(axis, steps, found[axis])}\n', flush=True)
    if args.out:
        args.out.write_text(json.dumps(dict(torch=torch.__version__, axes=found), indent=2))


if __name__ == '__main__':
    main()
