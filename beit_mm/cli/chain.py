"""Train the whole chain on a folder of images (tools/chain.py)."""

import argparse
import copy
import hashlib
import json
import shlex
from pathlib import Path

import cv2
import numpy as np

from beit_mm.checkpoints.store import write_atomically
from beit_mm.cli.arguments import positive_float, positive_int
from beit_mm.cli.hardware import HARDWARE, Hardware, choose_hardware
from beit_mm.cli.own_folder.configs import ChainConfigs
from beit_mm.cli.own_folder.plan import choose
from beit_mm.cli.own_folder.run import (
    START_SECONDS,
    divide_time,
    length_for_epochs,
    measure,
    run_stages,
    stage_names,
    trained_parts,
    write_configs,
)
from beit_mm.cli.own_folder.survey import EXTENSIONS, contact_sheet, look_at
from beit_mm.cli.own_folder.tasks import read_labels, read_masks
from beit_mm.cli.report import main as report
from beit_mm.cli.stages import end_in_words
from beit_mm.cli.train import use_autocast
from beit_mm.contracts import UserError, printable
from beit_mm.datasets.image_folder import CHAIN

# The ends of a chain: a verb, and a file or folder that it writes.
USES = dict(cls_beit=('classify', 'classes.csv'), seg_beit=('segment', 'masks'))


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train the whole chain on a folder of images')
    parser.add_argument('images', help='a folder of images, however nested')
    parser.add_argument('--labels', help='class folders, or a CSV file of images and labels')
    parser.add_argument('--masks', help='a folder of masks, named as the images')
    parser.add_argument('--mask-suffix', help="of their names, such as _mask (default: '')")
    parser.add_argument('--classes', nargs='+', help='names of the classes of the masks, from 0 on')
    parser.add_argument('--nodata', type=float, help='the value of missing pixels, such as nan')
    parser.add_argument('--size', type=positive_int, help='pixels of the input and side')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--minutes', type=positive_float, help='for all of it (default: 10)')
    length.add_argument('--epochs', type=positive_int, help='of the pre-training')
    parser.add_argument('--init', help='weights to begin with: unilm, Hugging Face, timm, ours')
    parser.add_argument(
        '--tokenizer', help="a trained one: of this package, DALL-E's encoder, or VQ-KD"
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/chain'), help='a folder')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--plan', action='store_true', help='write the configs and stop there')
    return parser.parse_args(arguments)


def prepare(args: argparse.Namespace) -> dict:
    """Look at the images, choose, measure, write the configs; return paths and seconds by stage."""
    survey = look_at(args.images, args.nodata)
    print_table('Images', survey.table())
    sheet = args.out / 'images.png'
    picture = np.ascontiguousarray(contact_sheet(survey)[..., ::-1])
    write_atomically(sheet, cv2.imencode('.png', picture)[1].tobytes())
    plan = choose(survey, args.size, args.init, args.tokenizer)
    tasks = dict(cls=read_labels(args.images, args.labels, survey))
    tasks['seg'] = read_masks(args.images, args.masks, survey, args.classes, args.mask_suffix or '')
    for title, task in zip(('Labels', 'Masks'), tasks.values(), strict=True):
        if task is not None:
            print_table(title, task.table())
    configs = ChainConfigs(args.out, args.images, survey, plan, args.seed)
    names = stage_names(tasks['cls'], tasks['seg'], args.tokenizer is None)
    made = {name: configs.make(name, tasks.get(name.partition('_')[0])) for name in names}
    if tasks['cls'] is not None:
        found = dict(type='LabelledImageFolder', **tasks['cls'].dataset)
        if configs.loader:
            found['extensions'] = EXTENSIONS
        made['pretrain'].default_hooks.probe.dataset = found
    hardware = choose_hardware(args.out / HARDWARE)
    if hardware.amp:
        for config in made.values():
            use_autocast(config.optim_wrapper)
    steps = measure_all(configs, made, hardware)
    most = {name: config.train_cfg.max_iters for name, config in made.items()}
    if args.epochs:
        lengths = length_for_epochs(args.epochs, len(survey.paths), made, most)
    else:
        lengths = divide_time((args.minutes or 10) * 60, steps, most)
    seconds = {name: lengths[name] * steps[name] + START_SECONDS for name in names}
    print_table('Plan', [*plan.table(), *describe(lengths, seconds)])
    paths = write_configs(configs, made, lengths)
    return dict(paths={name: str(path) for name, path in paths.items()}, seconds=seconds)


def measure_all(configs: ChainConfigs, made: dict, hardware: Hardware) -> dict[str, float]:
    """Return the seconds of a step of each stage; from scratch takes as long as pre-trained."""
    steps: dict[str, float] = {}
    for name, config in made.items():
        twin = name.replace('_scratch', '_beit')
        if twin in steps:
            steps[name] = steps[twin]
            continue
        trial = copy.deepcopy(config)
        for part in trained_parts(trial):
            part.init_cfg = None  # what is not trained yet
        print(f'measuring the steps of {name}', flush=True)
        steps[name] = measure(configs.write(name, trial), hardware)
    return steps


def describe(lengths: dict[str, int], seconds: dict[str, float]) -> list[tuple[str, str]]:
    rows = [
        (name, f'{lengths[name]} steps, about {format_time(seconds[name])}') for name in lengths
    ]
    return [*rows, ('all', f'about {format_time(sum(seconds.values()))}')]


def format_time(seconds: float) -> str:
    for unit, size in (('days', 86400), ('hours', 3600), ('minutes', 60)):
        if seconds >= 2 * size:
            return f'{seconds / size:.1f} {unit}'
    return f'{seconds:.0f} seconds'


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    lines = [f'  {name:<{width}}  {printable(value)}' for name, value in rows]
    print('\n'.join([f'\n{title}', *lines]))


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    end_in_words()
    args.out = args.out.expanduser().resolve()
    images = Path(args.images).expanduser().resolve()
    for option, folder in (('out', args.out), ('masks', args.masks)):
        if folder and Path(folder).expanduser().resolve().is_relative_to(images):
            raise UserError(
                f'--{option} {folder} lies inside of the images {images}, so that its pictures '
                'would be trained on; name another folder, or move it and the images apart'
            )
    request = describe_request(args)
    for option in ('classes', 'mask_suffix'):
        if vars(args)[option] and not args.masks:
            raise UserError(f'--{option.replace("_", "-")} is about masks; name them with --masks')
    state_path = args.out / CHAIN
    if state_path.is_file():
        state = json.loads(state_path.read_text(encoding='utf-8'))
        before, no = state['request'], str(None)  # of an option that was not given
        changed = [n for n in {**before, **request} if before.get(n, no) != request.get(n, no)]
        if changed:
            raise UserError(
                f'{args.out} has a chain with another {", ".join(changed)}; call it as before to '
                'go on, or name another --out'
            )
    else:
        state = dict(prepare(args), request=request)
        write_atomically(state_path, json.dumps(state, indent=2).encode())
    paths = {name: Path(path) for name, path in state['paths'].items()}
    print(f'\nConfigs: {args.out / "configs"}; each trains alone by beit-mm train CONFIG')
    if args.plan:
        return
    run_stages(args.out, paths, state['seconds'])
    report([str(args.out)])
    print('\n'.join(['\nUse it:', *usage(args.out, [*paths])]))


def describe_request(args: argparse.Namespace) -> dict[str, str]:
    """Return what a chain depends on: options, absolute paths, the content of a table of labels."""
    request = {name: str(value) for name, value in vars(args).items() if name != 'plan'}
    for name in ('images', 'labels', 'masks', 'init', 'tokenizer'):
        if vars(args)[name] is not None:
            request[name] = str(Path(vars(args)[name]).expanduser().resolve())
    if Path(request['labels']).is_file():
        content = Path(request['labels']).read_bytes()
        request['content of labels'] = hashlib.sha256(content).hexdigest()
    return request


def usage(folder: Path, names: list[str]) -> list[str]:
    """Return the commands that use what the stages have trained."""
    ends = [name for name in names if name in USES] or ['pretrain']
    verbs = {name: USES.get(name, ('embed', 'features.npz')) for name in ends}
    return [
        f'  beit-mm {verb} {shlex.quote(str(folder / name))} IMAGES --out {out}'
        for name, (verb, out) in verbs.items()
    ]
