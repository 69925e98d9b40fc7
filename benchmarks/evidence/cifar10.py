"""CIFAR-10: pre-trainings of one small encoder, and what they give with few labels."""

import hashlib
import json
import subprocess
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config

from beit_mm import load_model
from beit_mm.contracts import UserError
from beit_mm.datasets import LabelledImageFolder
from beit_mm.evaluation import frozen_probes
from benchmarks.evidence.bench import LOADERS, QUICK_IMAGES, Bench

TOKENIZER_STEPS, PRETRAIN_STEPS, SHORT_STEPS, INIT_STEPS = 1_000, 6_000, 1_000, 500
FINETUNE_STEPS, SELECT_STEPS, SHORT_FINETUNE_STEPS = 1_000, 500, 400
RATES = dict(pretrained=(1e-3, 2e-3, 4e-3, 8e-3), scratch=(5e-4, 1e-3, 2e-3, 4e-3))
SHORT_RATES = (1e-3, 2e-3, 4e-3)  # of short fine-tunings; the first for all seeds
CHOSEN_WITH = 4_000  # labels that choose the learning rate
PROBED = 2_000  # labelled images of the probes

PEERS = ('beit', 'random-projection', 'pixels', 'mae', 'mae-tokens', 'simmim', 'hog')
VITS = ('mae', 'mae-tokens', 'simclr')  # with the encoder of mmpretrain's MAE
FOREIGN = (*VITS, 'simmim')  # load_model knows the models of this package alone
BLOCKS = dict(type='BlockwiseMask', grid=8, min_block=4)
ALL_POSITIONS = dict(type='SoftTokenHead', target='ids', smoothing=0.0, positions='all')
# Variant: what it has in the place of the mask, the head, and the encoder's arguments.
ABLATIONS = {
    'random-masks': dict(mask=dict(type='RandomMask', grid=8, num_masked=25)),
    'ratio-0.15': dict(mask=dict(BLOCKS, num_masked=10)),
    'ratio-0.75': dict(mask=dict(BLOCKS, num_masked=48)),
    'all-positions': dict(head=ALL_POSITIONS),
    'absolute-positions': dict(encoder=dict(abs_pos=True, rel_pos=None)),
    'no-layer-scale': dict(encoder=dict(layer_scale_init=None)),
}
# How the encoder begins: as in the shipped config, with one of its two changes, and with none.
INITS = {
    'original-init': dict(encoder=dict(abs_pos=False, init_std=0.02)),
    'no-absolute-positions': dict(encoder=dict(abs_pos=False)),
    'original-weights': dict(encoder=dict(init_std=0.02)),
}
VARIANTS = ABLATIONS | INITS
DECAY = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
RATE = 'optim_wrapper.optimizer.lr'
CLASS_TOKEN = {
    'custom_imports': dict(imports=['benchmarks.evidence.class_token']),
    'model.neck.type': 'beit_mm.ClassTokenNeck',
}
DROP_PATH = {'model.backbone.drop_path_rate': 0.1}
MIX = {'model.train_cfg': dict(augments=[dict(type='Mixup', alpha=0.8)])}
RECIPE = {
    'drop-path-0.1': DROP_PATH,
    'mixup': MIX,
    'drop-path-0.1+mixup': DROP_PATH | MIX,
    'class-token': CLASS_TOKEN,
}
PRETRAINED_RECIPE = {  # of layers that have learned something
    'rate-0.001': {RATE: 1e-3},
    'layer-decay-1': {DECAY: 1.0},
    'layer-decay-0.5': {DECAY: 0.5},
    'layer-decay-0.5+drop-path-0.1+mixup': {DECAY: 0.5} | DROP_PATH | MIX,
    'frozen': {'model.backbone.frozen': True, DECAY: 1.0, RATE: 2e-2},
}


def tokenizer(bench: Bench, seed: int = 0) -> dict:
    config = bench.config('cifar10_tokenizer')
    place(bench, config, seed)
    return bench.train(f'cifar10/tokenizer-s{seed}', config, TOKENIZER_STEPS, kind='tokenizer')


def pretrain(
    bench: Bench,
    method: str = 'beit',
    seed: int = 0,
    steps: int = PRETRAIN_STEPS,
    variant: str = '',
) -> dict:
    """Return the record of a pre-training.

    Args:
        method: Name of the config after ``cifar10_``.
        variant: A key of VARIANTS.
    """
    config = bench.config(f'cifar10_{method}')
    changes = VARIANTS.get(variant, {})
    if mask := changes.get('mask'):
        config.train_dataloader.dataset.pipeline[3] = dict(mask)
    config.model.head = dict(changes.get('head', config.model.head))
    config.model.backbone.update(changes.get('encoder', {}))
    place(bench, config, seed)
    before = ()
    if config.model.get('tokenizer', {}).get('init_cfg'):
        before = (tokenizer(bench),)
        config.model.tokenizer.init_cfg.checkpoint = bench.folder(before[0])
    parts = ['pretrain', method, variant, steps, f's{seed}']
    name = 'cifar10/' + '-'.join(str(part) for part in parts if part != '')
    facts = dict(kind='pretrain', method=method, variant=variant)
    return bench.train(name, config, steps, before, **facts)


def simclr(bench: Bench, python: Path, minutes: float, seed: int = 0) -> dict:
    """Return the record of a pre-training by lightly-train.

    Args:
        python: Interpreter of an environment that has lightly-train and timm.
    """
    name = f'cifar10/pretrain-simclr-s{seed}'
    folder = bench.out / 'runs' / name

    def compute(resume: bool) -> dict:
        folder.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name('lightly_pretrain.py')
        words = [python, script, bench.data / 'train', folder, '--minutes', minutes]
        words += ['--seed', seed, '--precision', 'bf16-mixed' if bench.half else '32-true']
        words += ['--limit', 1_280] if bench.quick else []
        subprocess.run([str(word) for word in words], check=True)
        figures = json.loads((folder / 'figures.json').read_text())
        return dict(figures, seed=seed, metrics={})

    text = f'adamw {minutes:.0f} {bench.quick}'
    return bench.cell(name, text, (), compute, kind='pretrain', method='simclr', variant='')


def finetune(
    bench: Bench,
    start: dict | None,
    labels: int,
    rate: float,
    seed: int = 0,
    steps: int = FINETUNE_STEPS,
    select: bool = False,
    variant: str = '',
) -> dict:
    """Return the record of a classification with the labels of some images.

    Args:
        start: Record of the pre-training; None is from scratch.
        labels: Number of labelled images, as many of each class; ``seed`` draws them.
        select: Validate on a fifth of the labelled images instead of the test images.
        variant: A key of RECIPE or of PRETRAINED_RECIPE.
    """
    method = 'scratch' if start is None else start['method']
    config = bench.config('cifar10_vit_cls' if method in VITS else 'cifar10_cls')
    backbone = config.model.backbone
    if start is None:
        backbone.init_cfg = None
        config.optim_wrapper.paramwise_cfg.layer_decay_rate = 1.0
    else:
        backbone.init_cfg.checkpoint = bench.folder(start)
        backbone.update(VARIANTS.get(start['variant'], {}).get('encoder', {}))
    config.optim_wrapper.optimizer.lr = rate
    config.merge_from_dict(dict((RECIPE | PRETRAINED_RECIPE).get(variant, {})))
    place(bench, config, seed)
    table = str(label_table(bench, labels, seed))
    train = config.train_dataloader.dataset
    train.labels = table
    if select:
        train.part = 'train'
        for name in LOADERS[1:]:
            config[name].dataset.update(data_root=train.data_root, labels=table, part='val')
    origin = 'scratch' if start is None else Path(start['name']).name.removeprefix('pretrain-')
    kind = 'select' if select else 'cls'
    parts = [kind, labels, origin, variant, f'lr{rate:g}', steps, f's{seed}']
    name = 'cifar10/' + '-'.join(str(part) for part in parts if part != '')
    facts = dict(kind=kind, start=origin, labels=labels, rate=rate, variant=variant)
    return bench.train(name, config, steps, () if start is None else (start,), **facts)


def best_rate(bench: Bench, start: dict | None, labels: int) -> float:
    """Return the learning rate with the best accuracy on a held-out fifth of the labels.

    With few labels, this fifth has too few images to choose by: all amounts share the choice.
    """
    rates = RATES['scratch' if start is None else 'pretrained']
    runs = {
        rate: finetune(bench, start, labels, rate, steps=SELECT_STEPS, select=True)
        for rate in (rates[:1] if bench.quick else rates)
    }
    return max(runs, key=lambda rate: runs[rate]['metrics']['accuracy/top1'])


def probes(bench: Bench, start: dict) -> dict:
    """Return kNN and linear probe of each layer of a frozen encoder, in percent."""

    def compute(resume: bool) -> dict:
        model = load_model(bench.folder(start))
        root, table = str(bench.data / 'train'), str(label_table(bench, PROBED, seed=0))
        sets = [
            LabelledImageFolder(root, labels=table),
            LabelledImageFolder(str(bench.data / 'test')),
        ]
        layers = []
        for layer in range(model.module.backbone.num_layers):
            train, known, feats, truth = [
                part for dataset in sets for part in features(bench, model, dataset, layer)
            ]
            layers.append(
                dict(
                    knn=frozen_probes.accuracy(frozen_probes.knn(train, known, feats), truth),
                    linear=frozen_probes.accuracy(
                        frozen_probes.linear_probe(train, known, feats), truth
                    ),
                )
            )
        return dict(layers=layers, labels=PROBED)

    origin = Path(start['name']).name.removeprefix('pretrain-')
    name = f'cifar10/probes-{origin}'
    return bench.cell(name, f'{PROBED}', (start,), compute, kind='probes', start=origin)


def features(bench: Bench, model, dataset, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features (N, C) and classes (N,) of the images of a data set."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    if bench.quick:
        infos = infos[:: max(len(infos) // QUICK_IMAGES, 1)]
    paths = [info['img_path'] for info in infos]
    found = model.embed(paths, layer=layer, batch_size=200, progress=False)
    classes = torch.tensor([info['gt_label'] for info in infos])
    return torch.as_tensor(found.features), classes


def place(bench: Bench, config: Config, seed: int) -> None:
    """Set seed and folders of the images."""
    config.randomness.seed = seed
    for name in LOADERS:
        if config.get(name):
            folder = 'train' if name == 'train_dataloader' else 'test'
            config[name].dataset.data_root = str(bench.data / folder)


def label_table(bench: Bench, labels: int, seed: int) -> Path:
    """Write which images have labels, as many of each class, and return the file."""
    path = bench.out / 'labels' / f'{labels}-s{seed}.csv'
    if not path.is_file():
        root = bench.data / 'train'
        rows = ['file,label']
        for folder in sorted(folder for folder in root.iterdir() if folder.is_dir()):
            names = sorted(
                (file.name for file in folder.iterdir()),
                key=lambda name: hashlib.sha256(f'{seed} {name}'.encode()).digest(),
            )
            rows += [f'{folder.name}/{name},{folder.name}' for name in names[: labels // 10]]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(rows) + '\n')
    return path


# ---- tables ----


def few_labels(bench: Bench, args: Namespace) -> None:
    """Pre-trainings against scratch with few labels, and probes of their layers."""
    kinds = [(method, steps) for method in args.methods for steps in args.steps]
    starts = [None, *(pretrain(bench, method, steps=steps) for method, steps in kinds)]
    for start in starts[1:]:
        if start['method'] not in FOREIGN:
            probes(bench, start)
    sides = [(start, best_rate(bench, start, CHOSEN_WITH)) for start in starts]
    lengths = ((FINETUNE_STEPS, args.seeds), (4 * FINETUNE_STEPS, args.long_seeds))
    for steps, seeds in lengths:
        for seed in seeds:
            for amount in args.labels:
                for start, rate in sides:
                    finetune(bench, start, amount, rate, seed, steps)
    for seed in args.pretrain_seeds:
        for (method, steps), (_, rate) in zip(kinds, sides[1:], strict=True):
            start = pretrain(bench, method, seed, steps)
            if method not in FOREIGN:
                probes(bench, start)
            for amount in args.labels:
                finetune(bench, start, amount, rate, seed)


def peers(bench: Bench, args: Namespace) -> None:
    """Other pre-trainings of as many steps, with the same encoder and fine-tuning."""
    compare(bench, args, [(method, '') for method in PEERS])
    starts = [None, *(pretrain(bench, method, steps=SHORT_STEPS) for method in PEERS)]
    for start in starts:
        for rate in SHORT_RATES:
            for amount in args.labels:
                finetune(bench, start, amount, rate, steps=SHORT_FINETUNE_STEPS)


def ablations(bench: Bench, args: Namespace) -> None:
    """What BEiT's paper changes in its Tables 4 and 5, at a small scale."""
    compare(bench, args, [('beit', variant) for variant in ('', *ABLATIONS)])


def inits(bench: Bench, args: Namespace) -> None:
    """How the weights and positions of a narrow encoder begin."""
    for seed in args.seeds:
        for variant in ('', *INITS):
            probes(bench, pretrain(bench, 'beit', seed, INIT_STEPS, variant))


def compare(bench: Bench, args: Namespace, rows: list[tuple]) -> None:
    for seed in args.seeds:
        for method, variant in rows:
            start = pretrain(bench, method, seed, SHORT_STEPS, variant)
            if method not in FOREIGN:
                probes(bench, start)
            for amount in args.labels:
                finetune(bench, start, amount, SHORT_RATES[0], seed, SHORT_FINETUNE_STEPS)


def recipe(bench: Bench, args: Namespace) -> None:
    """What of the fine-tuning helps with few labels, with pre-training and without."""
    sides = ((pretrain(bench), RECIPE | PRETRAINED_RECIPE), (None, RECIPE))
    for start, variants in sides:
        rate = best_rate(bench, start, CHOSEN_WITH)
        for seed in args.seeds:
            for amount in args.labels:
                for variant in ('', *variants):
                    finetune(bench, start, amount, rate, seed, variant=variant)


def lightly(bench: Bench, args: Namespace) -> None:
    """SimCLR of lightly-train in as many minutes as BEiT and its tokenizer took."""
    if args.python is None:
        raise UserError('--python is missing: the interpreter that has lightly-train and timm')
    ours = tokenizer(bench), pretrain(bench)
    minutes = sum(record['cpu_seconds'] for record in ours) / 60
    start = simclr(bench, args.python, 0.01 if bench.quick else minutes)
    rate = best_rate(bench, start, CHOSEN_WITH)
    for seed in args.seeds:
        for amount in args.labels:
            finetune(bench, start, amount, rate, seed)


TABLES: Mapping = dict(
    cifar10=few_labels,
    peers=peers,
    lightly=lightly,
    inits=inits,
    ablations=ablations,
    recipe=recipe,
)
