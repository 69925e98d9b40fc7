import argparse
import copy
import hashlib
import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.registry import DATASETS
from benchmarks.tokenizers.figures import Figures
from benchmarks.tokenizers.probe_images import ProbeImages
from benchmarks.tokenizers.shorten import shorten

ROOT = Path(__file__).resolve().parents[2]
Entry = tuple[str, Config, str | None]  # name, config, checkpoint


class Comparison:
    """All tokenizers with one seed, whose files are in a folder of its own.

    A stage is a training or the figures of one. It is skipped if it was finished with the same
    inputs.
    """

    def __init__(self, args: argparse.Namespace, seed: int):
        self.args, self.seed = args, seed
        self.work_dir = args.work_dir / f'seed{seed}'
        self.pretrain = load_config(args.pretrain)
        self.images = ProbeImages(args, self.pretrain, seed, get_device())
        self.figures = Figures(args, self.images)

    def entries(self, words: list[str]) -> list[Entry]:
        """Return what CONFIG and CONFIG=CHECKPOINT name."""
        entries = [self.entry(word) for word in words]
        names = [name for name, _, _ in entries]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(f'{sorted(twice)} more than once; each tokenizer needs another name')
        return entries

    def entry(self, word: str) -> Entry:
        path, _, checkpoint = word.partition('=')
        file = Path(path) if Path(path).is_file() else ROOT / path
        if checkpoint and not Path(checkpoint).is_file():
            raise MissingFileError(f'There is no checkpoint {checkpoint}')
        return Path(path).stem, load_config(file), checkpoint or None

    def row(self, name: str, config: Config, checkpoint: str | None) -> dict:
        """Return the figures of one tokenizer, or why there are none."""
        try:
            return dict(name=name, seed=self.seed, **self.measure(name, config, checkpoint))
        except UserError as error:
            failed = str(error)
        except Exception as error:  # whatever it is, the others' hours are not lost by it
            traceback.print_exc()
            failed = f'{type(error).__name__}: {error}'
        print(f'    failed: {failed}', flush=True)
        return dict(name=name, seed=self.seed, failed=failed)

    def measure(self, name: str, config: Config, checkpoint: str | None) -> dict:
        """Train what is not trained, and return the figures of one tokenizer."""
        out = self.work_dir / name
        is_trained_alone = config.model.type != 'MaskedImageModel'
        tokenizer = config.model if is_trained_alone else config.model.tokenizer
        self.set_stride(tokenizer)
        if tokenizer.type in ('KMeansTokenizer', 'RandomProjectionTokenizer'):
            tokenizer.seed = self.seed  # another draw for each
        if is_trained_alone and checkpoint is None:
            self.set_length(config)
            checkpoint = self.train(name, 'tokenizer', config)
        tokenizer = freeze(tokenizer, checkpoint)
        weights = [] if checkpoint is None else [checkpoint]
        found = self.stage(
            out / 'quality.json',
            [tokenizer, self.images.view(), *self.figures.settings],
            weights,
            lambda: self.figures.quality(tokenizer),
        )
        if self.args.steps:
            mim = self.mim_config(tokenizer, found['vocab_size'])
            # Another tokenizer in a file of the same name is another pre-training.
            mim.tokenizer_sha256 = sha256(weights)
            pretrained = self.train(name, 'pretrain', mim)
            found = found | self.stage(
                out / 'probes.json',
                [mim.pretty_text, *self.images.label_settings()],
                [pretrained],
                lambda: self.figures.probes(mim, pretrained),
            )
        if self.args.speed:  # never taken from an earlier run
            found = found | dict(images_per_second=self.figures.speed(tokenizer))
        return found

    # ---- trainings, as somebody would type them ----

    def set_length(self, config: Config) -> None:
        """Set data, seed and number of steps of a tokenizer's training; k-means takes one pass."""
        self.place(config)
        one_pass = config.model.type == 'KMeansTokenizer'
        if self.args.smoke:
            shorten(config, 2)
            if one_pass:
                config.model.start_vectors = config.model.vocab_size
        elif one_pass:
            images = len(DATASETS.build(config.train_dataloader.dataset))
            steps = -(-images // config.train_dataloader.batch_size)
            if steps != config.train_cfg.max_iters:
                shorten(config, steps)
        elif self.args.tokenizer_steps:
            shorten(config, self.args.tokenizer_steps)

    def place(self, config: Config) -> None:
        self.images.place(config)
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
        """Return the pre-training with this tokenizer and --steps steps."""
        config = copy.deepcopy(self.pretrain)
        config.model.tokenizer = tokenizer
        config.model.head.vocab_size = vocab_size
        self.place(config)
        shorten(config, 2 if self.args.smoke else self.args.steps)
        return config

    def train(self, name: str, stage: str, config: Config) -> str:
        """Run tools/train.py with this config, from where it was; return its last checkpoint.

        Raises:
            UserError: The training fails; the message ends with the end of its log.
        """
        out = self.work_dir / name / stage
        path = self.work_dir / name / f'{stage}.py'
        last = out / f'iter_{config.train_cfg.max_iters}.pth'
        done = out / 'done.json'
        out.mkdir(parents=True, exist_ok=True)
        text = config.pretty_text
        is_same = path.is_file() and path.read_text() == text
        if is_same and done.is_file() and last.is_file():
            print(f'    {stage}: done before', flush=True)
            return str(last)
        if not is_same:  # another training: nothing of the last one may be taken up
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

    def stage(
        self, path: Path, inputs: list, files: list[str], compute: Callable[[], dict]
    ) -> dict:
        """Return what ``compute`` gives, or what it gave with the same inputs and weights."""
        path.parent.mkdir(parents=True, exist_ok=True)
        inputs = [*inputs, str(self.images.root), sha256(files), self.args.smoke]
        key = hashlib.sha256(repr(inputs).encode()).hexdigest()
        if path.is_file() and (stored := json.loads(path.read_text()))['key'] == key:
            print(f'    {path.stem}: done before', flush=True)
            return stored['figures']
        figures = compute()
        path.write_text(json.dumps(dict(key=key, figures=figures), indent=2) + '\n')
        return figures


def freeze(tokenizer: dict, checkpoint: str | None) -> dict:
    """Return the config of the trained tokenizer."""
    tokenizer = copy.deepcopy(tokenizer)
    if checkpoint is not None:
        checkpoint = str(Path(checkpoint).resolve())
        tokenizer['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
    return tokenizer


def sha256(files: list[str]) -> str:
    """Return the digest of the contents of all files."""
    return hashlib.sha256(b''.join(Path(file).read_bytes() for file in files)).hexdigest()
