"""Trains or loads several tokenizers on one data set and compares what they are good for.

    python benchmarks/compare_tokenizers.py [CONFIG[=CHECKPOINT] ...] [--seeds 0 1 2]
        [--steps 1000] [--tokenizer-steps N] [--work-dir work_dirs/compare_tokenizers]
        [--speed] [--smoke]

For each one: reconstruction (PSNR, SSIM), use of the vocabulary over the validation images, and
what an equally short masked image modeling with its tokens gives: the part of the tokens' entropy
that is predicted, and accuracy of k nearest neighbors and of a linear probe on frozen features.
The results go to results.json and table.md in the work dir, with several seeds as mean (range).
Finished stages are skipped when it is run again, those that were stopped go on. A tokenizer that
fails (CodebookGuardHook stops one that collapses) is named in the table, and the others go on; one
with a perplexity of validation that CodebookGuardHook would not accept is marked as collapsed.

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
import copy
import hashlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import default_collate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmengine.config import Config  # noqa: E402
from mmengine.dataset import BaseDataset  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import Runner, load_checkpoint, set_random_seed  # noqa: E402

import beit_mm  # noqa: E402, F401  (before mmpretrain)
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402
from beit_mm.engine import CodebookGuardHook  # noqa: E402
from beit_mm.evaluation.frozen_probes import (  # noqa: E402
    accuracy,
    knn,
    labelled_features,
    linear_probe,
)
from beit_mm.registry import DATASETS, METRICS, MODELS  # noqa: E402

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
COLUMNS = {  # heading: (key, format)
    'tokenizer': ('name', '{}'),
    'V': ('vocab_size', '{:.0f}'),
    'tokens/image': ('tokens_per_image', '{:.0f}'),
    'PSNR dB': ('psnr', '{:.2f}'),
    'SSIM': ('ssim', '{:.3f}'),
    'feature distance': ('feature_distance', '{:.4f}'),
    'codes used %': ('codes_used_percent', '{:.1f}'),
    'perplexity': ('perplexity', '{:.1f}'),
    'images/s': ('images_per_second', '{:.0f}'),
    'chance': ('chance', '{:.2f}'),
    'gap closed %': ('gain_over_unigram_percent', '{:.1f}'),
    'kNN %': ('knn', '{:.2f}'),
    'linear %': ('linear', '{:.2f}'),
}
# Left out of the table where no tokenizer has them.
OPTIONAL = ['feature distance', 'images/s', 'chance', 'gap closed %', 'kNN %', 'linear %']
TRAIN = 'train'  # the folder of the labelled images
CHUNK = 200  # images
LABELLED = 2000  # images for the probes, where there is no list of them


class Comparison:
    """All tokenizers with one seed, whose files are in a folder of its own."""

    def __init__(self, args: argparse.Namespace, seed: int):
        self.args = args
        self.seed = seed
        self.work_dir = args.work_dir / f'seed{seed}'
        self.data = args.data
        self.device = get_device()
        self.perceptual, self.distance_is = None, []
        if args.perceptual:
            config = load_config(args.perceptual)
            self.distance_is = [config.pretty_text]
            given = {key: config[key] for key in ('backbone', 'mean', 'std') if key in config}
            self.perceptual = MODELS.build(dict(type='PerceptualReconLoss', **given))
            self.perceptual.to(self.device)
        self.pretrain = load_config(args.pretrain)
        for key in ('train_dataloader', 'val_dataloader'):
            if not self.pretrain.get(key, {}).get('dataset', {}).get('data_root'):
                raise UserError(
                    f'--pretrain {args.pretrain}: {key}.dataset.data_root is missing; a comparison '
                    'takes a config with both dataloaders, and with folders of images in them, as '
                    'configs/pretrain/beit_beit-micro-p8_digit-scenes.py'
                )
        self.train_folder, self.val_folder = (
            given or Path(self.pretrain[key].dataset.data_root).name
            for given, key in (
                (args.train_folder, 'train_dataloader'),
                (args.val_folder, 'val_dataloader'),
            )
        )

    def entries(self) -> list[tuple[str, Config, str | None]]:
        entries = [self.entry(word) for word in self.args.tokenizers or DEFAULT]
        names = [name for name, _, _ in entries]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(f'{sorted(twice)} more than once; each tokenizer needs another name')
        return entries

    def row(self, name: str, config: Config, checkpoint: str | None) -> dict:
        """The figures of one tokenizer, or why there are none."""
        try:
            return dict(name=name, seed=self.seed, **self.one(name, config, checkpoint))
        except (UserError, ValueError) as error:
            failed = str(error)
        except Exception as error:  # whatever it is, the others' hours are not lost by it
            traceback.print_exc()
            failed = f'{type(error).__name__}: {error}'
        print(f'    failed: {failed}', flush=True)
        return dict(name=name, seed=self.seed, failed=failed)

    def entry(self, word: str) -> tuple[str, Config, str | None]:
        """CONFIG or CONFIG=CHECKPOINT -> name, config, checkpoint."""
        path, _, checkpoint = word.partition('=')
        file = Path(path) if Path(path).is_file() else ROOT / path
        if checkpoint and not Path(checkpoint).is_file():
            raise UserError(f'There is no checkpoint {checkpoint}')
        return Path(path).stem, load_config(file), checkpoint or None

    def one(self, name: str, config: Config, checkpoint: str | None) -> dict:
        out = self.work_dir / name
        tokenizer = config.model
        trainable = tokenizer.type != 'MaskedImageModel'
        if not trainable:
            tokenizer = tokenizer.tokenizer
        self.set_stride(tokenizer)
        if tokenizer.type in ('KMeansTokenizer', 'RandomProjectionTokenizer'):
            tokenizer.seed = self.seed  # another draw for each
        if trainable and checkpoint is None:
            self.place(config)
            one_pass = tokenizer.type == 'KMeansTokenizer'
            if self.args.smoke:
                shorten(config, 2)
                if one_pass:
                    tokenizer.start_vectors = tokenizer.vocab_size
            elif one_pass:
                images = len(DATASETS.build(config.train_dataloader.dataset))
                steps = -(-images // config.train_dataloader.batch_size)
                if steps != config.train_cfg.max_iters:
                    shorten(config, steps)
            elif self.args.tokenizer_steps:
                shorten(config, self.args.tokenizer_steps)
            checkpoint = self.train(name, 'tokenizer', config)
        tokenizer = self.frozen(tokenizer, checkpoint)
        trained = [] if checkpoint is None else [checkpoint]
        quality = self.stage(
            out / 'quality.json',
            [tokenizer, self.view_is(), *self.distance_is],
            trained,
            lambda: self.quality(tokenizer),
        )
        speed = {}
        if self.args.speed:  # never taken from an earlier run
            speed = dict(images_per_second=self.speed(tokenizer))
        if self.args.steps == 0:
            return {**quality, **speed}
        mim = self.mim_config(tokenizer, quality['vocab_size'])
        # Another tokenizer in a file of the same name is another pre-training.
        mim.cached_tokens.sha256 = sha256(trained)
        pretrained = self.train(name, 'pretrain', mim)
        probes = self.stage(
            out / 'probes.json',
            [mim.pretty_text, *self.labels_are()],
            [pretrained],
            lambda: self.probes(mim, pretrained),
        )
        return {**quality, **probes, **speed}

    # ---- trainings, as somebody would type them ----

    def place(self, config: Config) -> None:
        """The data where --data says, and no workers that two small images don't need."""
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if config.get(name):
                folder = self.train_folder if name == 'train_dataloader' else self.val_folder
                config[name].dataset.data_root = str(self.data / folder)
        config.randomness.seed = self.seed

    def set_stride(self, tokenizer: dict) -> None:
        if self.args.stride is None:
            return
        if tokenizer.type == 'DALLETokenizer':
            if self.args.stride != 8:
                raise UserError(
                    f'--stride {self.args.stride}: DALLETokenizer has 8 pixels for each token; '
                    'compare at 8, or leave it out'
                )
            return
        name = 'patch_size' if tokenizer.type == 'VQKDTokenizer' else 'stride'
        tokenizer[name] = self.args.stride
        if 'patch_size' in tokenizer.get('features', {}):
            tokenizer['features']['patch_size'] = self.args.stride

    def mim_config(self, tokenizer: dict, vocab_size: int) -> Config:
        """The pre-training with this tokenizer and --steps steps, its schedule in proportion."""
        config = copy.deepcopy(self.pretrain)
        config.model.tokenizer = tokenizer
        config.model.head.vocab_size = vocab_size
        self.place(config)
        shorten(config, 2 if self.args.smoke else self.args.steps)
        return config

    def train(self, name: str, stage: str, config: Config) -> str:
        """tools/train.py with this config, from where it was; its last checkpoint."""
        out = self.work_dir / name / stage
        path = self.work_dir / name / f'{stage}.py'
        last = out / f'iter_{config.train_cfg.max_iters}.pth'
        done = out / 'done.json'
        out.mkdir(parents=True, exist_ok=True)
        text = config.pretty_text
        same = path.is_file() and path.read_text() == text
        if same and done.is_file() and last.is_file():
            print(f'    {stage}: done before', flush=True)
            return str(last)
        if not same:  # another training: nothing of the last one may be taken up
            for file in (*out.glob('*.pth'), out / 'last_checkpoint', done):
                file.unlink(missing_ok=True)
        path.write_text(text)
        print(f'    {stage}: {config.train_cfg.max_iters} steps', flush=True)
        command = ['tools/train.py', str(path.resolve()), '--work-dir', str(out.resolve())]
        command = [sys.executable, *command, '--resume']
        log = self.work_dir / name / f'{stage}.log'
        with log.open('a') as file:
            code = subprocess.call(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        if code:
            tail = ''.join(log.read_text(errors='replace').splitlines(keepends=True)[-5:])
            raise UserError(f'{tail}\n{name}, {stage}: exit status {code}; whole log: {log}')
        done.write_text(json.dumps(dict(command=command), indent=2) + '\n')
        return str(last)

    # ---- figures ----

    def stage(
        self, path: Path, inputs: list, files: list[str], compute: Callable[[], dict]
    ) -> dict:
        """What ``compute`` gives, or what it gave with the same inputs and the same weights."""
        path.parent.mkdir(parents=True, exist_ok=True)
        inputs = [*inputs, str(self.data), sha256(files), self.args.smoke]
        key = hashlib.sha256(repr(inputs).encode()).hexdigest()
        if path.is_file() and (stored := json.loads(path.read_text()))['key'] == key:
            print(f'    {path.stem}: done before', flush=True)
            return stored['figures']
        figures = compute()
        path.write_text(json.dumps(dict(key=key, figures=figures), indent=2) + '\n')
        return figures

    @staticmethod
    def frozen(tokenizer: dict, checkpoint: str | None) -> dict:
        """The config of the trained tokenizer."""
        tokenizer = copy.deepcopy(tokenizer)
        if checkpoint is not None:
            checkpoint = str(Path(checkpoint).resolve())
            tokenizer['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
        return tokenizer

    def build(self, tokenizer: dict) -> torch.nn.Module:
        model = MODELS.build(dict(tokenizer))
        model.init_weights()
        return model.eval().to(self.device)

    def view_is(self) -> str:
        """How the pre-training's validation loads and scales images."""
        return repr([self.pretrain.val_dataloader.to_dict(), self.pretrain.data_preprocessor])

    def images(self, folder: str) -> BaseDataset:
        """Those of DIR/folder, in the views of the pre-training's validation."""
        config = copy.deepcopy(self.pretrain.val_dataloader.dataset)
        config.data_root = str(self.data / folder)
        return DATASETS.build(config)

    def batches(self) -> list[Tensor]:
        """The validation images in [0, 1], as the pre-training shows them to its tokenizer."""
        preprocess = MODELS.build(self.pretrain.data_preprocessor).to(self.device)
        config = copy.deepcopy(self.pretrain.val_dataloader)
        config.dataset.data_root = str(self.data / self.val_folder)
        config.num_workers = 0
        config.persistent_workers = False
        set_random_seed(self.seed)
        batches = [preprocess(batch) for batch in Runner.build_dataloader(config, seed=0)]
        if 'token_inputs' not in batches[0]:
            raise UserError(
                f'--pretrain {self.args.pretrain}: the pipeline of its val_dataloader makes no '
                'view for the tokenizer; set token_size of TwoViewResizedCrop'
            )
        return [batch['token_inputs'] for batch in batches]

    @torch.no_grad()
    def quality(self, tokenizer: dict) -> dict:
        model = self.build(tokenizer)
        metric = METRICS.build(dict(type='TokenizerQuality', vocab_size=model.vocab_size))
        size, distances = 0, []
        for images in self.batches():
            samples = model.predict(images)
            metric.process({}, samples)
            size += len(samples)
            if self.perceptual and 'recon' in samples[0]:
                recon = torch.stack([sample['recon'] for sample in samples])
                distances += [len(samples) * self.perceptual.distance(recon, images).item()]
        figures = {name.split('/')[-1]: v for name, v in metric.evaluate(size).items()}
        if distances:
            figures['feature_distance'] = sum(distances) / size
        grid = samples[0]['ids'].shape
        parameters = sum(p.numel() for p in model.parameters())
        possible = min(model.vocab_size, size * grid[0] * grid[1])
        return dict(
            **figures,
            collapsed=figures['perplexity'] < CodebookGuardHook().threshold(possible),
            vocab_size=model.vocab_size,
            tokens_per_image=grid[0] * grid[1],
            parameters=parameters,
            validation_images=size,
        )

    @torch.no_grad()
    def speed(self, tokenizer: dict) -> float:
        """Images that are encoded in a second, the best of five passes."""
        model, batches = self.build(tokenizer), self.batches()
        model.encode(batches[0])
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            for images in batches:
                ids = model.encode(images)
            ids.cpu()  # waits for a GPU
            seconds.append(time.perf_counter() - start)
        return sum(map(len, batches)) / min(seconds)

    def probes(self, config: Config, checkpoint: str) -> dict:
        """What the pre-training predicts, and what its frozen features know of the classes."""
        torch.manual_seed(self.seed)
        model = MODELS.build(config.model)
        load_checkpoint(model, checkpoint, map_location='cpu')
        model.eval().to(self.device)
        mim = self.mim(model, config)
        train, labels = self.features(model, TRAIN, self.labelled())
        val, truth = self.features(model, self.val_folder, self.validation())
        return dict(
            knn=accuracy(knn(train, labels, val), truth),
            linear=accuracy(linear_probe(train, labels, val), truth),
            commonest_class=accuracy(labels.mode().values, truth),
            **mim,
        )

    def features(
        self, model: torch.nn.Module, folder: str, rows: list[tuple[Path, int | Path]]
    ) -> tuple[Tensor, Tensor]:
        """Features (N, C) of the encoder, and labels (N,), of images in DIR/folder."""
        preprocess = MODELS.build(self.pretrain.data_preprocessor).to(self.device)
        dataset = self.images(folder)
        place = {Path(path): i for i, path in enumerate(paths_of(dataset))}
        set_random_seed(self.seed)

        def inputs() -> Iterator[Tensor]:
            for start in range(0, len(rows), CHUNK):
                part = [dataset[place[file]] for file, _ in rows[start : start + CHUNK]]
                yield preprocess(default_collate(part))['inputs']

        return labelled_features(
            model, inputs(), [label for _, label in rows], num_classes=self.args.dense
        )

    @torch.no_grad()
    def mim(self, model: torch.nn.Module, config: Config) -> dict:
        loader = copy.deepcopy(config.val_dataloader)
        loader.update(num_workers=0, persistent_workers=False)
        metric = METRICS.build(dict(type='MaskedTokenAccuracy'))
        set_random_seed(self.seed)
        size = 0
        preprocess = MODELS.build(config.data_preprocessor).to(self.device)
        for batch in Runner.build_dataloader(loader, seed=self.seed):
            samples = model(**preprocess(batch), mode='predict')
            metric.process({}, samples)
            size += len(samples)
        figures = {name.split('/')[-1]: v for name, v in metric.evaluate(size).items()}
        return dict(
            mim_accuracy=figures['accuracy'],
            mim_loss=figures['loss'],
            chance=figures['chance'],
            gain_over_unigram_percent=100 * figures['gain_over_unigram'],
        )

    def labels_are(self) -> list:
        """What the labels of the probes depend on, besides the data."""
        dense = [f'dense {self.args.dense}'] if self.args.dense else []
        return [self.args.labelled, 'at equal distances', *dense]

    def check_labels(self) -> None:
        """Before hours of training: the images of the probes and their labels are there."""
        train, val = (
            {Path(path) for path in paths_of(self.images(name))}
            for name in (TRAIN, self.val_folder)
        )
        labelled, validation = self.labelled(), self.validation()
        for rows, known, source in (
            (labelled, train, f'--labelled {self.args.labelled}'),
            (validation, val, f'--val-folder {self.val_folder}'),
        ):
            if absent := [file for file, _ in rows if file not in known]:
                raise UserError(
                    f'{source}: {absent[0]} and {len(absent) - 1} more are no images of the '
                    'pre-training; correct the list, or val_dataloader.dataset.extensions'
                )
            if self.args.dense and (absent := [m for _, m in rows if not m.is_file()]):
                raise UserError(
                    f'--dense {self.args.dense}: there is no mask {absent[0]}, '
                    f'nor {len(absent) - 1} more; that of DIR/val/a.tif is DIR/masks/val/a.png'
                )
        if not self.args.dense:
            seen = {label for _, label in labelled}
            if strange := {label for _, label in validation} - seen:
                raise UserError(
                    f'Validation has the classes {sorted(strange)}, which no labelled image has '
                    f'(those have {sorted(seen)}); the labels are the places of the class folders '
                    'in the order of their names'
                )

    def labelled(self) -> list[tuple[Path, int | Path]]:
        """The lines `file label` of --labelled, else all of DIR/train."""
        path = self.data / self.args.labelled
        listed = path.is_file()
        if listed and not self.args.dense:
            lines = path.read_text().splitlines()
            rows = [line.rsplit(maxsplit=1) for line in lines if line.strip()]
            rows = [(self.data / TRAIN / name, int(label)) for name, label in rows]
        else:
            rows = self.folder(TRAIN)
        if not listed:
            number = min(len(rows), LABELLED)
            rows = [rows[i * len(rows) // number] for i in range(number)]
        return rows[:: max(len(rows) // 40, 1)] if self.args.smoke else rows

    def validation(self) -> list[tuple[Path, int | Path]]:
        rows = self.folder(self.val_folder)
        return rows[:: max(len(rows) // 40, 1)] if self.args.smoke else rows

    def folder(self, name: str) -> list[tuple[Path, int | Path]]:
        """Images with masks, or with the place of their class folder in the order of names.

        The order is that of DIR/train, as long as --labelled has no numbers of its own.
        """
        root = self.data / name
        files = [Path(path) for path in paths_of(self.images(name))]
        if self.args.dense:
            masks = self.data / 'masks' / name
            return [(f, (masks / f.relative_to(root)).with_suffix('.png')) for f in files]
        listed = (self.data / self.args.labelled).is_file()
        numbered = root if listed else self.data / TRAIN
        classes = sorted(path.name for path in numbered.iterdir() if path.is_dir())
        if unlabelled := [file for file in files if file.parent == root]:
            raise UserError(
                f'{root} has no folder for each class: {unlabelled[0].name} and '
                f'{len(unlabelled) - 1} more are in none. The probes need labels: sort the images '
                'into folders, give masks with --dense N, or leave the probes out with --steps 0'
            )
        names = [file.relative_to(root).parts[0] for file in files]
        if strange := sorted(set(names) - set(classes)):
            raise UserError(f'{root} has the class folders {strange}, which are not in {numbered}')
        return [(file, classes.index(name)) for file, name in zip(files, names, strict=True)]


def shorten(config: Config, steps: int) -> None:
    """The training takes ``steps`` steps, and what is scheduled in it changes in proportion.

    Laws of a step alone (``StepLR``, ``step``, ``compound``, an average's momentum) stay what they
    are.
    """
    if 'max_iters' not in config.train_cfg:
        raise UserError(
            f'{config.filename}: train_cfg.max_iters is missing; a comparison gives all the same '
            'number of steps, take a config with an iteration-based loop'
        )
    scale = steps / config.train_cfg.max_iters
    schedulers = config.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    for scheduler in schedulers:
        _scale(scheduler, scale, 'begin', 'end')
        _scale(scheduler, scale, 'T_max', 'total_steps', 'periods', 'milestones', least=1)
    config.param_scheduler = [
        s for s in schedulers if s.get('end') is None or s['end'] > s.get('begin', 0)
    ]
    hooks = [*(config.get('custom_hooks') or []), *config.default_hooks.values()]
    for hook in filter(None, hooks):
        kind = hook.get('type', '').split('.')[-1]
        if kind == 'CodebookGuardHook':
            _scale(hook, scale, 'grace')
        elif kind == 'EMAHook':
            _scale(hook, scale, 'begin_iter')
        elif kind == 'AttributeScheduleHook':  # where `end` is a value
            for parts in hook.schedules.values():
                earliest = 0
                for part in parts if isinstance(parts, list) else [parts]:
                    _scale(part, scale, 'begin')
                    _scale(part, scale, 'num_steps', least=1)
                    if part.get('begin', 0) < earliest:
                        part['begin'] = earliest
                    earliest = part.get('begin', 0) + 1
    config.train_cfg.update(max_iters=steps, val_interval=steps)
    config.default_hooks.checkpoint.update(interval=max(steps // 4, 1), max_keep_ckpts=1)


def _scale(part: dict, factor: float, *keys: str, least: int = 0) -> None:
    for key in keys:
        if isinstance(steps := part.get(key), (list, tuple)):
            part[key] = [max(round(step * factor), least) for step in steps]
        elif steps is not None:
            part[key] = max(round(steps * factor), least)


def paths_of(dataset: BaseDataset) -> list[str]:
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


def compare(args: argparse.Namespace) -> list[dict]:
    """All seeds of all tokenizers; the table is written after each."""
    init_default_scope('beit_mm')
    MMLogger.get_instance('compare_tokenizers', log_level='ERROR')  # each weight is a line else
    results, seconds = [], []
    total = len(args.seeds) * len(args.tokenizers or DEFAULT)
    for seed in args.seeds:
        comparison = Comparison(args, seed)
        print(
            f'Training on {comparison.data / comparison.train_folder}, '
            f'validation on {comparison.data / comparison.val_folder}',
            flush=True,
        )
        if args.steps:
            comparison.check_labels()
        for name, config, checkpoint in comparison.entries():
            left = sum(seconds) / max(len(seconds), 1) * (total - len(results)) / 60
            eta = f', about {left:.0f} min to go' if seconds else ''
            print(f'[{len(results) + 1}/{total}] {name}, seed {seed}{eta}', flush=True)
            start = time.perf_counter()
            results.append(comparison.row(name, config, checkpoint))
            took = time.perf_counter() - start
            seconds += [took] if took > 5 else []  # others were done before
            write(args, results)
    print(table(results))
    print(f'Wrote {args.work_dir / "results.json"} and {args.work_dir / "table.md"}')
    return results


def write(args: argparse.Namespace, results: list[dict]) -> None:
    args.work_dir.mkdir(parents=True, exist_ok=True)
    command = ' '.join(['python', 'benchmarks/compare_tokenizers.py', *sys.argv[1:]])
    settings = dict(command=command, steps=args.steps, seeds=args.seeds)
    text = json.dumps(dict(**settings, tokenizers=results), indent=2)
    (args.work_dir / 'results.json').write_text(text + '\n')
    (args.work_dir / 'table.md').write_text(table(results) + f'\n`{command}`\n')


def table(results: list[dict]) -> str:
    """Markdown with a row for each tokenizer; of several seeds the mean (range)."""
    columns = dict(COLUMNS)
    for heading in OPTIONAL:
        if not any(COLUMNS[heading][0] in result for result in results):
            del columns[heading]
    lines = [list(columns), ['---'] + ['---:'] * (len(columns) - 1)]
    for name in dict.fromkeys(result['name'] for result in results):
        rows = [result for result in results if result['name'] == name]
        done = [row for row in rows if 'failed' not in row]
        cells = [
            cell([row[key] for row in done if key in row], form) for key, form in columns.values()
        ]
        failed, collapsed = len(rows) - len(done), sum(row.get('collapsed', False) for row in done)
        told = [f'{failed} failed'] * bool(failed) + [f'{collapsed} collapsed'] * bool(collapsed)
        cells[0] = name + (f' ({", ".join(told)})' if told else '')
        lines.append(cells)
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def cell(values: list, form: str) -> str:
    if not values or isinstance(values[0], str):
        return ''.join(values[:1])
    mean, low, high = (
        form.format(f) for f in (sum(values) / len(values), min(values), max(values))
    )
    return mean if low == high else f'{mean} ({low} to {high})'


def sha256(files: list[str]) -> str:
    """Of the contents of all files."""
    return hashlib.sha256(b''.join(Path(file).read_bytes() for file in files)).hexdigest()


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
