"""Convert a BEiT checkpoint between layouts (tools/model_converters/convert.py)."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from beit_mm.apis.export.huggingface import make_config
from beit_mm.apis.export.sizes import POSITIONS, Sizes
from beit_mm.checkpoints import (
    LAYOUTS,
    OURS,
    Conversion,
    detect,
    fetch,
    for_file,
    for_part,
    read_checkpoint,
    read_description,
    task_of,
    unwrap,
    write_weights,
)
from beit_mm.checkpoints.description.stored import meta_of
from beit_mm.checkpoints.layouts.rules import CONSTANT, note_pooling
from beit_mm.cli.convert_proof import prove, prove_resized, prove_target
from beit_mm.contracts import UserError, printable
from beit_mm.contracts.positions import INDEX, TABLE, Grid, resize_pos_embed, resize_table

TASKS = ('pretrain', 'classification', 'segmentation', 'backbone')
# What other code expects around the names in a pickle: the original its 'model', the rest none.
KEYS = dict(unilm='model', huggingface=None, timm=None)
NAMES = ('classes', 'palette')
# Whose inferencers read them beside the weights.
WITH_NAMES = (OURS, 'mmpretrain', 'mmseg')


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
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
    return parser.parse_args(arguments)


def read(paths: list[str]) -> dict[str, Tensor]:
    """Return the tensors of all sources, which are paths or https addresses."""
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
            print(printable(f'{path}: took the tensors out of {", ".join(around)}'))
        weights.update(found)
    return weights


def read_dataset_meta(paths: list[str]) -> dict | None:
    """Return class names and colors that the first source with any of them carries.

    MMEngine keeps them in ``meta.dataset_meta``, where inferencers of mmseg and mmpretrain look for
    them; without it they take the names of a known data set.
    """
    for path in paths:
        meta = meta_of(read_checkpoint(fetch(path) if '://' in path else path))
        found = meta.get('dataset_meta')
        if not isinstance(found, Mapping):  # of mmseg and mmcls before 1.0, or the description
            said = read_description(path) or {}
            named = {name: said.get(name, meta.get(name.upper())) for name in NAMES}
            found = {name: value for name, value in named.items() if value is not None}
        if found.get('classes'):
            return dict(found)
    return None


def describe(weights: dict[str, Tensor]) -> str:
    """Return the layout, and a line for each tensor."""
    lines = [f'{len(weights)} tensors, layout: {detect(weights) or "none that is known"}']
    width = max(map(len, weights))
    lines += [f'{n:{width}s} {tuple(t.shape)} {t.dtype}' for n, t in weights.items()]
    return '\n'.join(lines)


def choose_layout(weights: dict[str, Tensor], given: str, source: str) -> str:
    """Return the layout ``given`` by --from, or the one that is found for ``auto``."""
    layout = detect(weights) if given == 'auto' else given
    if layout is None:
        raise UserError(
            f'{source} has no layout that is known; its first names are '
            f'{list(weights)[:5]}. Print all with one path, or say --from'
        )
    if layout == 'vqkd':
        raise UserError(f'{source} is a VQ-KD tokenizer; VQKDTokenizer loads it as it is')
    return layout


def to_ours(weights: dict[str, Tensor], layout: str) -> Conversion:
    if layout != OURS:
        return LAYOUTS[layout].to_ours(weights)
    conversion = Conversion(weights)
    prefix = '' if 'backbone.cls_token' in weights else 'backbone.'  # an encoder alone
    for name in weights:
        if name.endswith(INDEX):
            conversion.drop(name, CONSTANT)
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
    """Resize positions to another image size, as is done when a model is loaded."""
    conversion = Conversion(weights)
    why = f'from {sizes.grid} to {grid} patches'
    for name, tensor in weights.items():
        if not name.startswith('backbone.') or sizes.grid == grid:
            conversion.move(name, name)
        elif name.endswith(TABLE):
            table = resize_table(tensor.float(), sizes.grid, grid)
            conversion.resize(name, table.to(tensor.dtype), why)
        elif name.endswith('pos_embed'):
            positions = resize_pos_embed(tensor.float(), sizes.grid, grid)
            conversion.resize(name, positions.to(tensor.dtype), why)
        else:
            conversion.move(name, name)
    return conversion.finish()


def to_grid(size: list[int] | None, patch: int, option: str) -> Grid | None:
    """Return the patches (h, w) of a size in pixels: a side of a square, or height and width."""
    if size is None:
        return None
    if len(size) > 2 or any(side <= 0 or side % patch for side in size):
        raise UserError(
            f'{option} {" ".join(map(str, size))}: expected one number or height and width, '
            f'multiples of the patch size {patch}'
        )
    return size[0] // patch, size[-1] // patch


def read_sizes(
    ours: dict[str, Tensor], description: dict | None, args: argparse.Namespace
) -> tuple[Sizes, Grid | None]:
    """Return the sizes of the source and the patches that ``--img-size`` asks for, if any."""
    patch = ours['backbone.patch_embed.proj.weight'].shape[-1]
    wanted = to_grid(args.img_size, patch, '--img-size')
    said = (description or {}).get('backbone', {}).get('img_size')
    grid = to_grid(args.source_img_size or said, patch, '--source-img-size')
    if grid is None and not any(name.endswith(POSITIONS) for name in ours):
        grid = wanted  # nothing depends on it
    return Sizes.read(ours, args.num_heads, grid), wanted


def update_description(description: dict, sizes: Sizes, task: str) -> dict:
    """Return what the source says of itself, changed to be true of the target."""
    description = dict(description)
    if 'backbone' in description:
        description['backbone'] = dict(description['backbone'], img_size=list(sizes.image))
    if task != 'pretrain':  # its tokenizer's weights are not in the file
        description.pop('tokenizer', None)
    is_whole = dict(pretrain='pretraining').get(task, task) == description.get('task')
    return for_part(description, list(sizes.image), is_whole)


def convert(sources: list[str], target: str, args: argparse.Namespace) -> None:
    """Convert ``sources``, check the result and write it to ``target``.

    Raises:
        UserError: The source is of no known layout, or computes something else than the result.
    """
    weights = read(sources)
    layout = choose_layout(weights, args.source, sources[0])
    steps = dict(read=to_ours(weights, layout))
    ours = steps['read'].result
    if 'backbone.patch_embed.proj.weight' not in ours:
        raise UserError(f'{sources[0]}: there is no backbone of layout {layout} in it')
    description = read_description(sources[0]) if len(sources) == 1 else None
    sizes, grid = read_sizes(ours, description, args)
    proofs = [prove(layout, weights, ours, sizes, f'source ({layout}) and beit_mm')]
    if grid is not None:
        steps['resized'] = resize(ours, sizes, grid)
        source, source_sizes = ours, sizes
        ours, sizes = steps['resized'].result, replace(sizes, grid=grid)
        proofs.append(prove_resized(source, source_sizes, ours, sizes))
    task = task_of(ours) if args.task == 'auto' else args.task
    steps['written'] = from_ours(ours, args.target, task, sizes.grid)
    result = steps['written'].result
    if args.target != OURS:
        proofs.append(prove_target(args.target, result, ours, sizes, task))
    metadata = dict(layout=args.target, source_layout=layout, task=task)
    if description is not None and args.target == OURS:
        metadata.update(for_file(update_description(description, sizes, task), target))
    names = read_dataset_meta(sources) if task in ('classification', 'segmentation') else None
    if names is not None and args.target in WITH_NAMES:
        is_text = target.endswith('.safetensors')
        metadata['dataset_meta'] = json.dumps(names, default=Tensor.tolist) if is_text else names
    write_weights(result, target, metadata, KEYS.get(args.target, 'state_dict'))

    for name, step in steps.items():
        print(printable(f'{name}: {step.table() if args.report else step.summary()}'))
    print(printable('\n'.join(proofs)))
    if args.target == 'huggingface':
        print(f'its config.json: {json.dumps(make_config(sizes, result))}')
    if description is not None and 'images' in description:
        images = ', '.join(f'{name} {value}' for name, value in description['images'].items())
        print(f'normalization of its images: {images}')
    print(f'wrote {target}: {len(result)} tensors, layout {args.target}, task {task}')


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    if len(args.paths) == 1:
        print(printable(describe(read(args.paths))))
        return
    *sources, target = args.paths
    if Path(target).exists():
        raise UserError(f'{target} exists already; nothing is overwritten, give another name')
    convert(sources, target, args)
