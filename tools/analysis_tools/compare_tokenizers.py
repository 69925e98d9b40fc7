"""Trains or loads several tokenizers on one data set and compares what they are good for.

    python tools/analysis_tools/compare_tokenizers.py [CONFIG[=CHECKPOINT] ...] [--steps 1000]
        [--work-dir work_dirs/compare_tokenizers] [--speed] [--smoke]

For each one: reconstruction (PSNR, SSIM), use of the vocabulary over the validation images, and
what an equally short masked image modelling with its tokens gives: the part of the tokens' entropy
that is predicted, and accuracy of k nearest neighbours and of a linear probe on frozen features.
The results go to results.json and table.md in the work dir. Finished stages are skipped when it is
run again, those that were stopped go on. Without CONFIG it takes those of digit scenes
(python tools/dataset_converters/digit_scenes.py data/digit_scenes). A CONFIG of a masked image
model stands for its tokenizer. --speed times the encoding: for a machine that does nothing else.
"""

import argparse
import copy
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mmcv  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import Runner, load_checkpoint  # noqa: E402

import beit_mm  # noqa: E402, F401  (before mmpretrain)
from beit_mm.engine.launch import UserError, load_config, run_tool  # noqa: E402
from beit_mm.registry import METRICS, MODELS  # noqa: E402

DEFAULT = [
    'configs/tokenizer/dvae_light-v256_digit-scenes.py',
    'configs/tokenizer/dvae_reinmax-v256_digit-scenes.py',
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
    'V': ('vocab_size', '{}'),
    'tokens/image': ('tokens_per_image', '{}'),
    'PSNR dB': ('psnr', '{:.2f}'),
    'SSIM': ('ssim', '{:.3f}'),
    'codes used %': ('codes_used_percent', '{:.1f}'),
    'perplexity': ('perplexity', '{:.1f}'),
    'images/s': ('images_per_second', '{:.0f}'),
    'chance': ('chance', '{:.2f}'),
    'gap closed %': ('gap_closed_percent', '{:.1f}'),
    'kNN %': ('knn', '{:.2f}'),
    'linear %': ('linear', '{:.2f}'),
}
NEIGHBOURS = 20
PROBE_DECAY = 1e-3  # of the linear probe's weights, features standardised


class Comparison:
    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.work_dir = args.work_dir
        self.data = args.data
        self.pretrain = load_config(args.pretrain)

    def run(self) -> None:
        init_default_scope('beit_mm')
        MMLogger.get_instance('compare_tokenizers', log_level='ERROR')  # each weight is a line else
        entries = [self.entry(word) for word in self.args.tokenizers or DEFAULT]
        names = [name for name, _, _ in entries]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(f'{sorted(twice)} more than once; each tokenizer needs another name')
        results = []
        for number, (name, config, checkpoint) in enumerate(entries, start=1):
            print(f'[{number}/{len(entries)}] {name}', flush=True)
            results.append(dict(name=name, **self.one(name, config, checkpoint)))
            self.write(results)
        print(self.table(results))
        print(f'Wrote {self.work_dir / "results.json"} and {self.work_dir / "table.md"}')

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
        if tokenizer.type == 'MaskedImageModel':
            tokenizer = tokenizer.tokenizer
        elif checkpoint is None:
            self.place(config)
            if self.args.smoke:
                config.merge_from_dict({'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2})
                if tokenizer.type == 'KMeansTokenizer':
                    tokenizer.start_vectors = tokenizer.vocab_size
            checkpoint = self.train(name, 'tokenizer', config)
        tokenizer = self.frozen(tokenizer, checkpoint)
        trained = [] if checkpoint is None else [checkpoint]
        quality = self.stage(
            out / 'quality.json', [tokenizer], trained, lambda: self.quality(tokenizer)
        )
        mim = self.mim_config(tokenizer, quality['vocab_size'])
        # Another tokenizer in a file of the same name is another pre-training.
        mim.tokenizer_sha256 = sha256(trained)
        pretrained = self.train(name, 'pretrain', mim)
        probes = self.stage(
            out / 'probes.json',
            [mim.pretty_text, self.args.labelled],
            [pretrained],
            lambda: self.probes(mim, pretrained),
        )
        speed = {}
        if self.args.speed:  # never taken from an earlier run
            speed = dict(images_per_second=self.speed(tokenizer))
        return {**quality, **probes, **speed}

    # ---- trainings, as somebody would type them ----

    def place(self, config: Config) -> None:
        """The data where --data says, and no workers that two small images don't need."""
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if config.get(name):
                folder = Path(config[name].dataset.data_root).name
                config[name].dataset.data_root = str(self.data / folder)
        config.randomness.seed = self.args.seed

    def mim_config(self, tokenizer: dict, vocab_size: int) -> Config:
        """The pre-training with this tokenizer and --steps steps, its schedule in proportion."""
        config = copy.deepcopy(self.pretrain)
        config.model.tokenizer = tokenizer
        config.model.head.vocab_size = vocab_size
        self.place(config)
        steps = 2 if self.args.smoke else self.args.steps
        scale = steps / config.train_cfg.max_iters
        for scheduler in config.param_scheduler:
            for key in ('begin', 'end', 'T_max'):
                if key in scheduler:
                    scheduler[key] = round(scheduler[key] * scale)
        config.param_scheduler = [s for s in config.param_scheduler if s.end > s.begin]
        config.train_cfg.update(max_iters=steps, val_interval=steps)
        config.default_hooks.checkpoint.update(interval=max(steps // 4, 1), max_keep_ckpts=1)
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
        return model.eval()

    def batches(self) -> list[Tensor]:
        """The validation images in [0, 1]."""
        config = copy.deepcopy(self.pretrain.val_dataloader)
        config.dataset.data_root = str(self.data / Path(config.dataset.data_root).name)
        config.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='PackMIMInputs')]
        config.num_workers = 0
        config.persistent_workers = False
        loader = Runner.build_dataloader(config, seed=0)
        return [batch['inputs'].flip(1) / 255 for batch in loader]  # RGB

    @torch.no_grad()
    def quality(self, tokenizer: dict) -> dict:
        model = self.build(tokenizer)
        metric = METRICS.build(dict(type='TokenizerQuality', vocab_size=model.vocab_size))
        size = 0
        for images in self.batches():
            samples = model.predict(images)
            metric.process({}, samples)
            size += len(samples)
        figures = {name.split('/')[-1]: v for name, v in metric.evaluate(size).items()}
        grid = samples[0]['ids'].shape
        parameters = sum(p.numel() for p in model.parameters())
        return dict(
            **figures,
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
                model.encode(images)
            seconds.append(time.perf_counter() - start)
        return sum(map(len, batches)) / min(seconds)

    def probes(self, config: Config, checkpoint: str) -> dict:
        """What the pre-training predicts, and what its frozen features know of the classes."""
        torch.manual_seed(self.args.seed)
        model = MODELS.build(config.model)
        load_checkpoint(model, checkpoint, map_location='cpu')
        model.eval()
        mim = self.mim(model, config)
        norm = config.data_preprocessor
        mean, std = (torch.tensor(norm[key]).view(-1, 1, 1) for key in ('mean', 'std'))
        sets = []
        for rows in (self.labelled(), self.validation()):
            feats = [features(model, part, mean, std) for part in chunks([r[0] for r in rows])]
            sets.append((torch.cat(feats), torch.tensor([label for _, label in rows])))
        (train, labels), (val, truth) = sets
        return dict(
            knn=accuracy(knn(train, labels, val), truth),
            linear=accuracy(linear_probe(train, labels, val), truth),
            **mim,
        )

    @torch.no_grad()
    def mim(self, model: torch.nn.Module, config: Config) -> dict:
        loader = copy.deepcopy(config.val_dataloader)
        loader.update(num_workers=0, persistent_workers=False)
        metric = METRICS.build(dict(type='MaskedTokenAccuracy'))
        torch.manual_seed(self.args.seed)
        size = 0
        preprocess = MODELS.build(config.data_preprocessor)
        for batch in Runner.build_dataloader(loader, seed=self.args.seed):
            samples = model(**preprocess(batch), mode='predict')
            metric.process({}, samples)
            size += len(samples)
        figures = {name.split('/')[-1]: v for name, v in metric.evaluate(size).items()}
        return dict(
            mim_accuracy=figures['accuracy'],
            mim_loss=figures['loss'],
            chance=figures['chance'],
            gap_closed_percent=100 * figures['gap_closed'],
        )

    def labelled(self) -> list[tuple[Path, int]]:
        """The lines `file label` of --labelled."""
        path = self.data / self.args.labelled
        if not path.is_file():
            raise UserError(f'--labelled: there is no list {path}')
        rows = [line.rsplit(maxsplit=1) for line in path.read_text().splitlines() if line.strip()]
        rows = [(self.data / 'train' / name, int(label)) for name, label in rows]
        return rows[:: len(rows) // 40] if self.args.smoke else rows

    def validation(self) -> list[tuple[Path, int]]:
        """A folder for each class, in the order of their names."""
        classes = sorted(path for path in (self.data / 'val').iterdir() if path.is_dir())
        rows = [(file, label) for label, c in enumerate(classes) for file in sorted(c.iterdir())]
        return rows[::20] if self.args.smoke else rows

    # ---- what is written ----

    def write(self, results: list[dict]) -> None:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        command = ' '.join(['python', 'tools/analysis_tools/compare_tokenizers.py', *sys.argv[1:]])
        settings = dict(command=command, steps=self.args.steps, seed=self.args.seed)
        text = json.dumps(dict(**settings, tokenizers=results), indent=2)
        (self.work_dir / 'results.json').write_text(text + '\n')
        (self.work_dir / 'table.md').write_text(self.table(results) + f'\n`{command}`\n')

    @staticmethod
    def table(results: list[dict]) -> str:
        lines = [list(COLUMNS), ['---'] + ['---:'] * (len(COLUMNS) - 1)]
        for result in results:
            cells = [(result.get(key), form) for key, form in COLUMNS.values()]
            lines.append(['' if value is None else form.format(value) for value, form in cells])
        return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def sha256(files: list[str]) -> str:
    """Of the contents of all files."""
    return hashlib.sha256(b''.join(Path(file).read_bytes() for file in files)).hexdigest()


def chunks(files: list[Path], size: int = 200) -> list[list[Path]]:
    return [files[i : i + size] for i in range(0, len(files), size)]


@torch.no_grad()
def features(model: torch.nn.Module, files: list[Path], mean: Tensor, std: Tensor) -> Tensor:
    """Images -> mean of the patch tokens of the last layer (B, C)."""
    images = [torch.from_numpy(mmcv.imread(str(f), channel_order='rgb').copy()) for f in files]
    images = torch.stack(images).permute(0, 3, 1, 2).float()
    return model.backbone((images - mean) / std)[-1][:, 1:].mean(1)


def knn(train: Tensor, labels: Tensor, val: Tensor) -> Tensor:
    """Votes of the nearest neighbours by cosine, weighted by exp(cosine / 0.07)."""
    similar = F.normalize(val, dim=1) @ F.normalize(train, dim=1).T
    cosines, index = similar.topk(min(NEIGHBOURS, len(train)), dim=1)
    votes = F.one_hot(labels[index]) * (cosines / 0.07).exp()[..., None]
    return votes.sum(1).argmax(1)


def linear_probe(train: Tensor, labels: Tensor, val: Tensor) -> Tensor:
    """Predictions of a logistic regression on standardised features, found by L-BFGS."""
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    train, val = (train - mean) / std, (val - mean) / std
    weight = torch.zeros(train.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn='strong_wolfe')

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(train @ weight + bias, labels)
        loss = loss + PROBE_DECAY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (val @ weight + bias).argmax(1)


def accuracy(pred: Tensor, truth: Tensor) -> float:
    return 100 * (pred == truth).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description='Tokenizers side by side')
    parser.add_argument('tokenizers', nargs='*', metavar='CONFIG[=CHECKPOINT]')
    parser.add_argument('--data', type=Path, default=Path('data/digit_scenes'))
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/compare_tokenizers'))
    pretrain = ROOT / 'configs/pretrain/beit_beit-micro-p8_digit-scenes.py'
    parser.add_argument(
        '--pretrain', type=Path, default=pretrain, help='config of the pre-training'
    )
    parser.add_argument('--steps', type=int, default=1000, help='of each pre-training')
    parser.add_argument('--labelled', default='meta/train_2000.txt', help='images for the probes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--speed', action='store_true', help='time the encoding (quiet machine!)')
    parser.add_argument('--smoke', action='store_true', help='2 steps each; figures mean nothing')
    args = parser.parse_args()
    args.data = args.data.resolve()
    Comparison(args).run()


if __name__ == '__main__':
    run_tool(main)
