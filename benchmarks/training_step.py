"""Time a training step, and inference, of BEiT beside that of other libraries.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py      # BEiT-B/16, ten minutes
    OMP_NUM_THREADS=1 python benchmarks/training_step.py --quick  # a smaller encoder

"compiled" is ours with compile_blocks. "products" are the matrix products of our step alone, the
least time that it can take. MiB are what a step keeps for its backward pass. The last column is
the model FLOPs utilization: operations of our step in its time, as a part of what one large
product reaches here. The variants of a row take turns in one process. Run it where nothing else
runs.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import beit_mm  # noqa: F401
from beit_mm.models.backbones import BEiTEncoder
from beit_mm.models.heads import VisualTokenHead
from beit_mm.models.necks import MaskedPatchNeck
from benchmarks.peers.comparison import BASE, CLASSES, VOCAB, Ours, Size, allocate, randomize
from benchmarks.peers.models import build_hf, classifier
from benchmarks.peers.products import Products, peak_product

QUICK = Size('quick', 192, 4, 3, 224, 16, 1, (3,))
OURS, OTHERS = ('ours', 'compiled'), ('mmpretrain', 'transformers', 'timm')
SIDE = 2048  # of the product that says what the machine can
DTYPES = dict(fp32=None, bf16=torch.bfloat16)


class Case(NamedTuple):
    """A row: models by library, each called with images and a mask."""

    name: str
    models: dict[str, nn.Module]
    run: Callable[[str, nn.Module, Tensor, Tensor], Tensor]
    image: int
    batch: int
    trains: bool = True


class MMPretrainMIM(nn.Module):
    """mmpretrain's encoder of BEiT's pre-training, with the projection of its head."""

    def __init__(self, size: Size, vocab: int = VOCAB, **options):
        super().__init__()
        from mmpretrain.models.selfsup import BEiTPretrainViT

        self.backbone = BEiTPretrainViT(
            arch=dict(size.arch, feedforward_channels=4 * size.dims),
            img_size=size.image,
            patch_size=size.patch,
            layer_scale_init_value=0.1,
            final_norm=True,
            **options,
        )
        self.proj = nn.Linear(size.dims, vocab)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        tokens = self.backbone(x, mask.flatten(1))[0][:, 1:]
        return self.proj(tokens[mask.flatten(1)])


class MMPretrainClassifier(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        from mmpretrain.models import BEiTViT

        self.backbone = BEiTViT(
            arch=dict(size.arch, feedforward_channels=4 * size.dims),
            img_size=size.image,
            patch_size=size.patch,
            out_type='avg_featmap',
            layer_scale_init_value=0.1,
        )
        self.head = nn.Linear(size.dims, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x)[0])


def timm_classifier(size: Size) -> nn.Module:
    from timm.models.beit import Beit

    return Beit(
        img_size=size.image,
        patch_size=size.patch,
        num_classes=CLASSES,
        embed_dim=size.dims,
        depth=size.layers,
        num_heads=size.heads,
        init_values=0.1,
        use_rel_pos_bias=True,
        use_abs_pos_emb=False,
    )


def pretraining(size: Size, batch: int) -> Case:
    def ours(**options) -> Ours:
        encoder = BEiTEncoder(arch=size.arch, img_size=size.image, patch_size=size.patch, **options)
        return Ours(encoder, MaskedPatchNeck(size.dims), VisualTokenHead(VOCAB, size.dims))

    models = {
        'ours': ours(),
        'compiled': ours(compile_blocks=True),
        'mmpretrain': MMPretrainMIM(size),
        'transformers': build_hf(
            'BeitForMaskedImageModeling',
            size,
            use_mask_token=True,
            use_shared_relative_position_bias=True,
        ),
    }

    def run(name: str, model: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        if name == 'transformers':
            return model(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)]
        found = model(x, mask)
        return found[0] if name in OURS else found

    return Case('pre-training step', models, run, size.image, batch)


def classification(size: Size, batch: int) -> Case:
    models = {
        'ours': classifier(size),
        'compiled': classifier(size, compile_blocks=True),
        'mmpretrain': MMPretrainClassifier(size),
        'transformers': build_hf(
            'BeitForImageClassification', size, use_relative_position_bias=True
        ),
        'timm': timm_classifier(size),
    }
    return Case('classification step', models, _logits, size.image, batch)


def inference(size: Size) -> Case:
    case = classification(size, 1)
    case.models.pop('compiled')
    return case._replace(name=f'inference, {size.image} pixels', trains=False)


def _logits(name: str, model: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    found = model(x)
    return found.logits if name == 'transformers' else found[0] if name in OURS else found


def measure(case: Case, dtype: torch.dtype | None, rounds: int, device: str) -> dict:
    """Return the median seconds of each model, all taking turns, and what each of them keeps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.batch, 3, case.image, case.image, generator=generator).to(device)
    mask = (
        torch.rand(case.batch, case.image // 16, case.image // 16, generator=generator) < 0.4
    ).to(device)
    for model in case.models.values():
        randomize(allocate(model))
        model.to(device).train(case.trains)
    saved = {
        name: saved_bytes(model, lambda: _step(case, name, model, x, mask, dtype))  # noqa: B023
        for name, model in case.models.items()
        if case.trains
    }
    with Products() as products:
        _step(case, 'ours', case.models['ours'], x, mask, dtype)
    turns = {
        name: partial(_step, case, name, model, x, mask, dtype)
        for name, model in case.models.items()
    }
    turns |= dict(products=products.run, peak=peak_product(dtype or torch.float32, device, SIDE))
    times = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            start = _now(device)
            turn()
            if number:  # the first one warms up
                times[name].append(_now(device) - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    peak = 2 * SIDE**3 / seconds.pop('peak')  # operations a second
    mfu = products.flops / seconds['ours'] / peak
    return dict(seconds=seconds, saved=saved, flops=products.flops, peak=peak, mfu=mfu)


def saved_bytes(model: nn.Module, step: Callable[[], None]) -> int:
    """Return the bytes that a step keeps for its backward pass, beside the weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(found.values())


def _step(case: Case, name: str, model: nn.Module, x: Tensor, mask: Tensor, dtype) -> None:
    with (
        torch.set_grad_enabled(case.trains),
        torch.autocast(x.device.type, dtype, enabled=dtype is not None),
    ):
        outputs = case.run(name, model, x, mask)
        targets = torch.arange(len(outputs), device=x.device) % outputs.shape[1]
        loss = F.cross_entropy(outputs.float(), targets)
    if case.trains:
        loss.backward()
        model.zero_grad(set_to_none=True)


def _now(device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def table(rows: list[dict]) -> str:
    names = [*OURS, *OTHERS, 'products']
    titles = ['', *names, 'ours / best other', 'compiled / best other', 'products / ours', 'MFU']
    lines = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for row in rows:
        title, seconds = f'{row["case"]}, {row["dtype"]}', row['seconds']
        last = [f'{seconds["products"] / seconds["ours"]:.2f}', f'{row["mfu"]:.0%}']
        lines.append(line(f'{title}, ms', seconds, names, 1e3, last))
        if row['saved']:
            lines.append(line(f'{title}, MiB', row['saved'], names, 2**-20, ['', '']))
    return '\n'.join(lines)


def line(
    title: str, found: dict[str, float], names: list[str], unit: float, last: list[str]
) -> str:
    """Return a line of the table, with ratios to the best of the other libraries."""
    cells = [f'{unit * found[name]:,.0f}' if name in found else '' for name in names]
    best = min(found[name] for name in OTHERS if name in found)
    ratios = [f'{found[name] / best:.2f}' if name in found else '' for name in OURS]
    return f'| {" | ".join([title, *cells, *ratios, *last])} |'


def main() -> None:
    parser = argparse.ArgumentParser(description='Time a training step beside other libraries')
    parser.add_argument('--quick', action='store_true', help='a smaller encoder, a minute')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', type=Path, help='JSON of all medians')
    args = parser.parse_args()
    size, batch = (QUICK, 2) if args.quick else (BASE, args.batch)
    large = size._replace(image=2 * size.image)
    cases = [
        lambda: pretraining(size, batch),
        lambda: classification(size, batch),
        lambda: inference(size),
        lambda: inference(large),
    ]
    rows = []
    for make in cases:
        case = make()
        for name, dtype in DTYPES.items():
            found = measure(case, dtype, 2 if args.quick else args.rounds, args.device)
            rows.append(dict(case=case.name, dtype=name, batch=case.batch, **found))
            print(*table(rows[-1:]).splitlines()[2:], sep='\n', flush=True)
    print(f'\nBEiT {size.name}, batch {batch}, {args.device}\n{table(rows)}')
    if args.out:
        args.out.write_text(json.dumps(dict(torch=torch.__version__, rows=rows), indent=2))


if __name__ == '__main__':
    main()
