"""Convert a BEiT checkpoint between layouts, and prove that it computes the same.

python tools/model_converters/convert.py SOURCE [SOURCE ...] TARGET [--from LAYOUT] [--to LAYOUT]
python tools/model_converters/convert.py SOURCE

Layouts: beit_mm, unilm and unilm_seg (the original), huggingface, timm, mmpretrain, mmseg. With
one path it says what the file is. Before TARGET is written, the same random batch goes through a
model made of the source and one made of the result; nothing is written if they differ, if the
backbone is not fully covered, or if TARGET exists.
"""

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from beit_mm.checkpoints import (  # noqa: E402
    LAYOUTS,
    OURS,
    Conversion,
    detect,
    fetch,
    for_file,
    read_checkpoint,
    read_description,
    task_of,
    unwrap,
    write_weights,
)
from beit_mm.checkpoints.layouts.names import note_pooling  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402
from beit_mm.contracts.positions import Grid, resize_pos_embed, resize_table  # noqa: E402
from references import Sizes, hf_settings, outputs_of  # noqa: E402

TASKS = ('pretrain', 'classification', 'segmentation', 'backbone')
TOLERANCE = 1e-4  # of the largest output, in float32
HEAD = re.compile(r'(head|decode_head|auxiliary_head)\.')
POSITIONS = ('relative_position_bias_table', 'pos_embed')
# What other code expects around the names in a pickle: the original its 'model', the rest none.
KEYS = dict(unilm='model', huggingface=None, timm=None)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Convert a BEiT checkpoint between layouts')
    layouts = [OURS, *(name for name in LAYOUTS if name != 'vqkd')]
    parser.add_argument('paths', nargs='+', help='sources (paths or https addresses), then target')
    parser.add_argument('--from', dest='source', choices=['auto', *layouts], default='auto')
    parser.add_argument('--to', dest='target', choices=layouts, default=OURS)
    parser.add_argument(
        '--task',
        choices=['auto', *TASKS],
        default='auto',
        help='what the target is for; backbone leaves the head behind (default: as the source)',
    )
    parser.add_argument('--img-size', type=int, nargs='+', help='resize positions to this (H W)')
    parser.add_argument(
        '--source-img-size', type=int, nargs='+', help='of the source, if that is not square (H W)'
    )
    parser.add_argument('--num-heads', type=int, help='where no table of positions tells them')
    parser.add_argument('--report', action='store_true', help='print every tensor')
    return parser.parse_args(argv)


def read(paths: list[str]) -> dict[str, Tensor]:
    """The tensors of all sources."""
    weights: dict[str, Tensor] = {}
    for path in paths:
        local = fetch(path) if '://' in path else Path(path)
        found, around = unwrap(read_checkpoint(local))
        if not found:
            raise UserError(f'{path} holds no named tensors')
        both = sorted(set(found) & set(weights))
        if both:
            raise UserError(f'{path} and another source both hold {both[0]}')
        if around not in ([], ['state_dict']):
            print(f'{path}: took the tensors out of {", ".join(around)}')
        weights.update(found)
    return weights


def describe(weights: dict[str, Tensor]) -> str:
    lines = [f'{len(weights)} tensors, layout: {detect(weights) or "none that is known"}']
    width = max(map(len, weights))
    lines += [f'{n:{width}s} {tuple(t.shape)} {t.dtype}' for n, t in weights.items()]
    return '\n'.join(lines)


def to_ours(weights: dict[str, Tensor], layout: str) -> Conversion:
    if layout != OURS:
        return LAYOUTS[layout].to_ours(weights)
    conversion = Conversion(weights)
    prefix = '' if 'backbone.cls_token' in weights else 'backbone.'  # an encoder alone
    for name in weights:
        if name.endswith('relative_position_index'):
            conversion.drop(name, 'a constant that follows from the patch grid')
        else:
            conversion.move(name, prefix + name)
    return note_pooling(conversion.finish())


def from_ours(weights: dict[str, Tensor], layout: str, task: str, grid: Grid) -> Conversion:
    if layout != OURS:
        return LAYOUTS[layout].from_ours(weights, task, grid)
    conversion = Conversion(weights)
    for name in weights:
        if task == 'backbone' and not name.startswith('backbone.'):
            conversion.drop(name, 'the backbone alone is asked for')
        else:
            conversion.move(name, name)
    return conversion.finish()


def resize(weights: dict[str, Tensor], sizes: Sizes, grid: Grid) -> Conversion:
    """Positions of another image size, by the same functions as when a model is loaded."""
    conversion = Conversion(weights)
    why = f'from {sizes.grid} to {grid} patches'
    for name, tensor in weights.items():
        if not name.startswith('backbone.') or sizes.grid == grid:
            conversion.move(name, name)
        elif name.endswith('relative_position_bias_table'):
            table = resize_table(tensor.float(), sizes.grid, grid)
            conversion.resize(name, table.to(tensor.dtype), why)
        elif name.endswith('pos_embed'):
            positions = resize_pos_embed(tensor.float(), sizes.grid, grid)
            conversion.resize(name, positions.to(tensor.dtype), why)
        else:
            conversion.move(name, name)
    return conversion.finish()


def grid_of(size: list[int] | None, patch: int, option: str) -> Grid | None:
    """Patches of an image size as it is given: one number for a square, or height and width."""
    if size is None:
        return None
    if len(size) > 2 or any(side <= 0 or side % patch for side in size):
        raise UserError(
            f'{option} {" ".join(map(str, size))}: expected one number or height and width, '
            f'multiples of the patch size {patch}'
        )
    return size[0] // patch, size[-1] // patch


def compare(
    first: dict[str, Tensor], second: dict[str, Tensor], what: str, tolerance: float = TOLERANCE
) -> str:
    """A line about the largest difference; UserError if it is too large."""
    names = sorted(set(first) & set(second))
    if not names:
        raise UserError(f'{what}: no output that both have, so it was not proved')
    worst = 0.0
    for name in names:
        a, b = first[name], second[name]
        scale = b.abs().max().clamp(min=1e-6)
        error = ((a - b).abs().max() / scale).item() if a.shape == b.shape else float('inf')
        if not error <= tolerance:
            raise UserError(
                f'{what}: {name} differ by {error:.1e} of the largest value, more than '
                f'{tolerance:.0e}; nothing was written'
            )
        worst = max(worst, error)
    return f'{what}: equal {" and ".join(names)} (differences up to {worst:.0e} of the largest)'


def batch(sizes: Sizes) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, sizes.channels, *sizes.image, generator=generator)
    return x, torch.rand(2, *sizes.grid, generator=generator) < 0.4


def prove(layout, weights, ours: dict[str, Tensor], sizes: Sizes, what: str) -> str:
    """Compare what ``weights`` compute in the library of ``layout`` with what ours compute."""
    x, mask = batch(sizes)
    own = outputs_of(OURS, ours, sizes, x, mask)
    theirs = None if layout == OURS else outputs_of(layout, weights, sizes, x, mask)
    if theirs is None:  # its library is not installed, or it is ours
        plain = LAYOUTS['unilm'].from_ours(ours, task_of(ours), sizes.grid).result
        theirs = outputs_of('unilm', plain, sizes, x, mask)
        what += " (by the original's steps)"
    line = compare(theirs, own, what)
    if 'logits' in theirs and 'logits' in own or not any(map(HEAD.match, ours)):
        return line
    if 'head.fc.weight' in ours and 'neck.norm.weight' not in ours:
        return f'{line}; logits not proved, as no tensor says what the head pools'
    return f'{line}; logits not proved, as the decoder or neck before them is not run'


def prove_resized(
    source: dict[str, Tensor], old: Sizes, resized: dict[str, Tensor], new: Sizes
) -> str:
    """Compare with the source's own positions, interpolated while it runs on the new size."""
    x, mask = batch(new)
    precision = max(
        (torch.finfo(t.dtype).eps for n, t in resized.items() if n.endswith(POSITIONS)), default=0
    )
    return compare(
        outputs_of(OURS, source, old, x, mask),
        outputs_of(OURS, resized, new, x, mask),
        f'source at {new.image[0]} x {new.image[1]} pixels and resized',
        max(TOLERANCE, 8 * precision),  # positions are written in the precision of the source
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if len(args.paths) == 1:
        print(describe(read(args.paths)))
        return
    *sources, target = args.paths
    if Path(target).exists():
        raise UserError(f'{target} exists already; nothing is overwritten, give another name')
    weights = read(sources)
    layout = detect(weights) if args.source == 'auto' else args.source
    if layout is None:
        raise UserError(
            f'{sources[0]} has no layout that is known; its first names are '
            f'{list(weights)[:5]}. Print all with one path, or say --from'
        )
    if layout == 'vqkd':
        raise UserError(f'{sources[0]} is a VQ-KD tokenizer; VQKDTokenizer loads it as it is')
    read_in = to_ours(weights, layout)
    ours = read_in.result
    if 'backbone.patch_embed.proj.weight' not in ours:
        raise UserError(f'{sources[0]}: there is no backbone of layout {layout} in it')
    patch = ours['backbone.patch_embed.proj.weight'].shape[-1]
    grid = grid_of(args.img_size, patch, '--img-size')
    description = read_description(sources[0]) if len(sources) == 1 else None
    said = (description or {}).get('backbone', {}).get('img_size')
    source_grid = grid_of(args.source_img_size or said, patch, '--source-img-size')
    if source_grid is None and not any(n.endswith(POSITIONS) for n in ours):
        source_grid = grid  # nothing depends on it
    sizes = Sizes.of(ours, args.num_heads, source_grid)
    lines = [prove(layout, weights, ours, sizes, f'source ({layout}) and beit_mm')]
    reports = [read_in]
    if grid is not None:
        reports.append(resize(ours, sizes, grid))
        resized = replace(sizes, grid=grid)
        lines.append(prove_resized(ours, sizes, reports[-1].result, resized))
        ours, sizes = reports[-1].result, resized
    task = task_of(ours) if args.task == 'auto' else args.task
    if task == 'backbone':
        ours = {name: tensor for name, tensor in ours.items() if name.startswith('backbone.')}
    written = from_ours(reports[-1].result, args.target, task, sizes.grid)
    reports.append(written)
    if args.target != OURS:
        lines.append(prove_target(args.target, written.result, ours, sizes, task))
    metadata = dict(layout=args.target, source_layout=layout, task=task)
    if description is not None and args.target == OURS:
        metadata.update(for_file(described(description, sizes, task), target))
    write_weights(written.result, target, metadata, KEYS.get(args.target, 'state_dict'))
    steps = ('read', *['resized'] * (len(reports) - 2), 'written')
    for step, report in zip(steps, reports, strict=True):
        print(f'{step}: {report.table() if args.report else report.summary()}')
    print('\n'.join(lines))
    if args.target == 'huggingface':
        print(f'its config.json: {json.dumps(hf_settings(sizes, written.result))}')
    if description is not None and 'images' in description:
        images = ', '.join(f'{name} {value}' for name, value in description['images'].items())
        print(f'normalization of its images: {images}')
    print(f'wrote {target}: {len(written.result)} tensors, layout {args.target}, task {task}')


def described(description: dict, sizes: Sizes, task: str) -> dict:
    """What the checkpoint said of itself, true of the result."""
    description = dict(description)
    if 'backbone' in description:
        description['backbone'] = dict(description['backbone'], img_size=list(sizes.image))
    if task != 'pretrain':  # its tokenizer's weights are not in the file
        description.pop('tokenizer', None)
    return description


def prove_target(layout, weights, ours: dict[str, Tensor], sizes: Sizes, task: str) -> str:
    """The same for the result, whose head may have been left behind."""
    kept = dict(ours)
    if task != task_of(ours) or layout in ('timm', 'mmseg', 'unilm_seg') and task == 'pretrain':
        kept = {name: tensor for name, tensor in ours.items() if name.startswith('backbone.')}
    return prove(layout, weights, kept, sizes, f'beit_mm and target ({layout})')


if __name__ == '__main__':
    run_tool(main)
