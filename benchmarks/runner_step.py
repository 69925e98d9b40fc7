"""Time the shipped pre-training, by its Runner, beside the bare step of mmpretrain.

    OMP_NUM_THREADS=1 python benchmarks/runner_step.py [--quick] [--tokenizer dalle] [--compile]

Our step has all that the config has: hooks, guards, clipping of gradients, the optimizer, the
schedule and the log. mmpretrain's is a loop of forward, backward, clipping and AdamW. They take
turns; images are in memory. Without --tokenizer the ids of both are given. Run it where nothing
else runs.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import beit_mm  # noqa: F401
from beit_mm.contracts import Tokenizer
from beit_mm.registry import DATASETS, HOOKS, MODELS
from benchmarks.peers.comparison import BASE, Size
from benchmarks.training_step import QUICK, MMPretrainMIM

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/pretrain/beit_beit-base-p16_8xb256-amp-coslr-800e_in1k.py'
VOCAB, IMAGE, MASKED = 8192, 224, 75


@DATASETS.register_module()
class RandomViews(torch.utils.data.Dataset):
    """Images in memory, as PackMIMInputs packs them."""

    def __init__(self, length: int):
        self.length = length
        self.metainfo = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        views = {
            name: torch.randint(256, (3, size, size), dtype=torch.uint8, generator=generator)
            for name, size in (('inputs', IMAGE), ('token_inputs', IMAGE // 2))
        }
        masked = torch.randperm((IMAGE // 16) ** 2, generator=generator)[:MASKED]
        mask = torch.zeros((IMAGE // 16) ** 2, dtype=torch.bool)
        mask[masked] = True
        return dict(views, mask=mask.view(IMAGE // 16, IMAGE // 16))


@MODELS.register_module()
class GivenTokens(Tokenizer):
    """The same ids for all images, in no time."""

    def __init__(self):
        super().__init__(VOCAB, 8)

    def encode(self, images: Tensor) -> Tensor:
        side = images.shape[-1] // self.stride
        return torch.arange(len(images) * side**2, device=images.device).view(-1, side, side)


class Peer:
    """mmpretrain's BEiT, and the loop that a user of it would write."""

    def __init__(self, size: Size, tokenizer: bool, dtype: torch.dtype, device: str):
        from mmpretrain.models.selfsup.cae import DALLEEncoder

        self.model = MMPretrainMIM(size, VOCAB, drop_path_rate=0.1)
        self.model.backbone.init_weights()
        self.tokenizer = DALLEEncoder().eval().to(device) if tokenizer else None
        self.parameters, self.dtype = [*self.model.to(device).parameters()], dtype
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1.5e-3, weight_decay=0.05)

    def step(self, inputs: Tensor, token_inputs: Tensor, mask: Tensor) -> None:
        with torch.autocast(inputs.device.type, self.dtype):
            with torch.no_grad():
                if self.tokenizer is None:
                    ids = torch.arange(mask.numel(), device=mask.device)
                else:
                    ids = self.tokenizer(token_inputs).argmax(1).flatten()
            loss = F.cross_entropy(self.model(inputs, mask).float(), ids[mask.flatten()])
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 3.0)
        self.optimizer.step()


@HOOKS.register_module()
class TurnsHook(Hook):
    """Times the steps of the Runner, and one of the peer after each."""

    priority = 'LOWEST'

    def __init__(self, peer: Peer):
        self.peer, self.batch = peer, None
        self.ours, self.theirs, self.hooks = [], [], []

    def before_train(self, runner) -> None:
        device = next(self.peer.model.parameters()).device
        samples = [runner.train_dataloader.dataset[n] for n in range(runner.cfg.batch)]
        batch = torch.utils.data.default_collate(samples)
        images = [batch[name].to(device).float() for name in ('inputs', 'token_inputs')]
        self.batch = (images[0] / 64 - 2, images[1] / 255, batch['mask'].to(device))
        call, self.spent = runner.call_hook, 0.0

        def timed(name, *args, **kwargs):
            start = _now()
            call(name, *args, **kwargs)
            self.spent += _now() - start
            if name == 'after_train_iter':  # the peer's step was inside
                self.hooks.append(self.spent - self.theirs[-1])
                self.spent = 0.0

        runner.call_hook = timed
        self.start = _now()

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        middle = _now()
        self.ours.append(middle - self.start)
        self.peer.step(*self.batch)
        self.start = _now()
        self.theirs.append(self.start - middle)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def config_of(args: argparse.Namespace, arch: dict, work_dir: str) -> Config:
    config = Config.fromfile(ROOT / CONFIG)
    if args.tokenizer:
        config.model.tokenizer.init_cfg = None
        config.model.tokenizer_dtype = 'bfloat16'
    else:
        config.model.tokenizer = dict(type='GivenTokens')
    config.model.backbone.arch = arch
    config.model.backbone.compile_blocks = args.compile
    config.optim_wrapper.dtype = 'bfloat16'
    config.batch = args.batch
    config.train_dataloader = dict(
        batch_size=args.batch,
        num_workers=0,
        sampler=config.train_dataloader.sampler,
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='RandomViews', length=args.batch * (args.rounds + 2)),
    )
    config.train_cfg.max_epochs = 1
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    config.default_hooks.checkpoint.update(interval=10**6, save_last=False)
    config.work_dir = work_dir
    config.experiment_name = Path(work_dir).name  # two runs of one name in a second share a log
    config.log_level = 'WARNING'
    return config


def measure(args: argparse.Namespace) -> dict:
    """Return the median seconds of our step and the peer's, and of our hooks."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    logging.disable(logging.WARNING)  # what each part tells of its weights
    size = QUICK if args.quick else BASE
    torch.manual_seed(0)
    try:
        peer = Peer(size, args.tokenizer == 'dalle', torch.bfloat16, device)
    finally:
        logging.disable(logging.NOTSET)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner.from_cfg(config_of(args, size.arch, folder))
        turns = TurnsHook(peer)
        runner.register_hook(turns, priority='LOWEST')
        runner.train()
    ours, theirs, hooks = (
        statistics.median(values[2:]) for values in (turns.ours, turns.theirs, turns.hooks)
    )
    return dict(runner=ours, mmpretrain=theirs, hooks=hooks)


def main() -> None:
    parser = argparse.ArgumentParser(description='Time a pre-training step by the Runner')
    parser.add_argument('--quick', action='store_true', help='a smaller encoder')
    parser.add_argument('--tokenizer', choices=['dalle'], help='with random weights, in bfloat16')
    parser.add_argument('--compile', action='store_true', help='compiled blocks in our encoder')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--out', type=Path, help='JSON of the medians')
    args = parser.parse_args()
    found = measure(args)
    ratio, share = found['runner'] / found['mmpretrain'], found['hooks'] / found['runner']
    print(
        f'Runner {1e3 * found["runner"]:,.0f} ms, bare mmpretrain '
        f'{1e3 * found["mmpretrain"]:,.0f} ms: {ratio:.2f}; hooks {share:.1%} of our step'
    )
    if args.out:
        args.out.write_text(json.dumps(found | dict(torch=torch.__version__), indent=2))


if __name__ == '__main__':
    main()
