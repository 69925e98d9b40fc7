"""tools/train.py, tools/test.py and their launch scripts, run as a user runs them.

A tiny config derived from a shipped one, on generated images, with masks that depend on the image
alone: what is trained doesn't depend on how the work is divided among processes.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from beit_mm.checkpoints import LAYOUTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = '{root}/configs/pretrain/beit_beit-micro-p8_digit-scenes.py'
custom_imports = dict(imports=['probe'])
model = dict(
    tokenizer=dict(vocab_size=16, width=8, num_blocks=1, code_dim=4, init_cfg=None),
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, num_layers=2, num_heads=2)),
    neck=dict(dims=16),
    head=dict(vocab_size=16, dims=16),
)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TwoViewResizedCrop', size=32, token_size=32, scale=(1.0, 1.0), ratio=(1.0, 1.0)),
    dict(type='MaskOfImage'),
    dict(type='PackMIMInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='{data}/train', pipeline=pipeline),
)
val_dataloader = dict(batch_size=2, dataset=dict(data_root='{data}/val', pipeline=pipeline))
test_dataloader = val_dataloader
param_scheduler = [dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=5)]
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
custom_hooks = [dict(type='Probe')]
auto_scale_lr = dict(base_batch_size=16)
"""
PROBE = """
import json
import os

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from beit_mm.registry import HOOKS, TRANSFORMS


@TRANSFORMS.register_module()
class MaskOfImage(BaseTransform):
    def transform(self, results):
        order = np.random.RandomState(results['sample_idx']).permutation(16)
        results['mask'] = (order < 6).reshape(4, 4)
        return results


@HOOKS.register_module()
class Probe(Hook):
    def before_train(self, runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.model, self.dtypes = model, set()
        model.backbone.blocks[0].mlp.fc1.register_forward_hook(
            lambda module, args, out: self.dtypes.add(str(out.dtype))
        )
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        lr = runner.optim_wrapper.get_lr()['lr'][0]
        mask = data_batch['mask']
        step = dict(iter=runner.iter, lr=lr, images=len(mask), masked=int(mask.sum()))
        self.steps.append(step)

    def after_val_epoch(self, runner, metrics=None):
        self.metrics = metrics

    def after_train(self, runner):
        state = {k: v.tolist() for k, v in self.model.state_dict().items() if 'tokenizer' not in k}
        seen = dict(steps=self.steps, dtypes=sorted(self.dtypes), metrics=self.metrics, state=state)
        with open(os.path.join(runner.work_dir, f'probe{get_rank()}.json'), 'w') as file:
            json.dump(seen, file)
"""


# Runs each command line of the JSON list in a fork of one process, which has the imports done.
FORKS = """
import json
import os
import runpy
import sys
import traceback

import beit_mm
import mmengine.runner

for number, (tool, *arguments) in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if child == 0:
        status = 0
        for stream, name in ((1, 'out'), (2, 'err')):
            os.dup2(os.open(f'{number}.{name}', os.O_CREAT | os.O_WRONLY), stream)
        sys.argv = [tool, *arguments]
        try:
            runpy.run_path(tool, run_name='__main__')
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
            if status and stop.code != status:
                print(stop.code, file=sys.stderr)
        except BaseException:
            status = 1
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def run(command, folder, **environment):
    environment = dict(
        os.environ,
        PYTHONPATH=f'{folder}{os.pathsep}{ROOT}',
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
        **environment,
    )
    return subprocess.run(
        [str(part) for part in command], env=environment, cwd=folder, capture_output=True, text=True
    )


def python(folder, tool, *arguments):
    done = run([sys.executable, ROOT / 'tools' / tool, *arguments], folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def shell(folder, script, *arguments):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    done = run(['bash', ROOT / 'tools' / script, *arguments], folder, PORT=str(port))
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def probe(work_dir: Path, rank: int = 0) -> dict:
    return json.loads((work_dir / f'probe{rank}.json').read_text())


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, map_location='cpu', weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images, the config and the module that it imports."""
    folder = tmp_path_factory.mktemp('tools')
    rng = np.random.default_rng(0)
    for split, count in (('train', 24), ('val', 5)):
        (folder / 'images' / split).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / 'images' / split / f'{number:02d}.png'), image)
    (folder / 'probe.py').write_text(PROBE)
    (folder / 'tiny.py').write_text(CONFIG.format(root=ROOT, data=folder / 'images'))
    return folder


@pytest.fixture(scope='module')
def trained(folder):
    """Four steps in one process, checkpoints after the second and the fourth."""
    python(folder, 'train.py', 'tiny.py')
    return folder / 'work_dirs' / 'tiny'


def test_training_follows_its_config(trained):
    seen = probe(trained)
    assert [step['iter'] for step in seen['steps']] == [0, 1, 2, 3]
    assert [step['images'] for step in seen['steps']] == [4] * 4
    assert seen['dtypes'] == ['torch.float32']
    rates = [2e-3 * (0.5 + 0.5 * step / 4) for step in range(4)]
    assert [step['lr'] for step in seen['steps']] == pytest.approx(rates)
    assert {path.name for path in trained.glob('iter_*.pth')} == {'iter_2.pth', 'iter_4.pth'}
    first, last = weights(trained / 'iter_2.pth'), weights(trained / 'iter_4.pth')
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert 'backbone.cls_token' in moved and 'head.proj.weight' in moved
    assert not any(name.startswith('tokenizer.') for name in moved)


def test_resume_goes_on_where_it_stopped(folder, trained, tmp_path):
    """From the second step to the fourth, with the weights of the run without a break."""
    shutil.copy(trained / 'iter_2.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    python(folder, 'train.py', 'tiny.py', '--work-dir', tmp_path, '--resume')
    whole, resumed = probe(trained), probe(tmp_path)
    assert resumed['steps'] == whole['steps'][2:]
    assert resumed['metrics'] == whole['metrics']
    expected, got = weights(trained / 'iter_4.pth'), weights(tmp_path / 'iter_4.pth')
    assert set(got) == set(expected)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_amp_computes_in_bfloat16_and_the_rate_counts_all_images_of_a_step(folder, tmp_path):
    options = ['--cfg-options', 'train_cfg.max_iters=2', 'optim_wrapper.accumulative_counts=2']
    arguments = ['tiny.py', '--work-dir', tmp_path, '--amp', '--auto-scale-lr', *options]
    python(folder, 'train.py', *arguments)
    seen = probe(tmp_path)
    assert seen['dtypes'] == ['torch.bfloat16', 'torch.float32']  # training, validation
    # 4 images x 2 accumulated of the 16 that the rate is made for, at the start of the warm-up
    assert seen['steps'][0]['lr'] == pytest.approx(2e-3 * 0.5 * 8 / 16)


def read_metrics(path):
    metrics = json.loads(path.read_text())
    assert metrics.pop('images') > 0 and time.strptime(metrics.pop('written'), '%Y/%m/%d %H:%M:%S')
    return metrics


def test_testing_a_checkpoint_gives_the_metrics_of_its_validation(folder, trained, tmp_path):
    out = tmp_path / 'new' / 'metrics.json'
    arguments = [trained / 'iter_4.pth', '--work-dir', tmp_path, '--out', out]
    python(folder, 'test.py', 'tiny.py', *arguments)
    metrics = read_metrics(out)
    assert metrics == probe(trained)['metrics']
    assert set(metrics) >= {'mim/accuracy', 'mim/loss'}


RANDOM_MASKS = """
_base_ = './tiny.py'
masks = dict(type='RandomMask', grid=4, num_masked=6)
pipeline = [*_base_.pipeline[:2], masks, _base_.pipeline[3]]
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
"""


def test_testing_draws_the_masks_of_the_validations(folder, trained, tmp_path):
    (folder / 'random_masks.py').write_text(RANDOM_MASKS)
    out, again = tmp_path / 'metrics.json', tmp_path / 'in_training.json'
    python(folder, 'train.py', 'random_masks.py', '--work-dir', tmp_path, '--test-out', again)
    assert read_metrics(again) == probe(tmp_path)['metrics']
    arguments = [tmp_path / 'iter_4.pth', '--work-dir', tmp_path / 'test', '--out', out]
    python(folder, 'test.py', 'random_masks.py', *arguments)
    assert read_metrics(out) == probe(tmp_path)['metrics']


def test_testing_weights_of_others_takes_the_tokenizer_from_its_own_file(folder, trained, tmp_path):
    """They hold no tokenizer. Ids of a random one give other metrics; none at all is an error."""
    whole = weights(trained / 'iter_4.pth')
    rest = {name: t for name, t in whole.items() if not name.startswith('tokenizer.')}
    torch.save(LAYOUTS['unilm'].from_ours(rest, 'pretrain').result, tmp_path / 'unilm.pth')
    tokenizer = {n.removeprefix('tokenizer.'): t for n, t in whole.items() if n not in rest}
    torch.save(tokenizer, tmp_path / 'tokenizer.pth')
    (tmp_path / 'probe.py').write_text(PROBE)
    for name, file in (('own', 'tokenizer.pth'), ('gone', 'gone.pth')):
        init_cfg = dict(_delete_=True, type='Pretrained', checkpoint=str(tmp_path / file))
        text = f'model = dict(tokenizer=dict(init_cfg={init_cfg}))'
        (tmp_path / f'{name}.py').write_text(f'_base_ = {str(folder / "tiny.py")!r}\n{text}\n')
    tool = str(ROOT / 'tools/test.py')
    commands = [
        [tool, 'own.py', 'unilm.pth', '--out', 'own.json'],
        [tool, str(folder / 'tiny.py'), 'unilm.pth'],
        [tool, 'gone.py', str(trained / 'iter_4.pth'), '--out', 'whole.json'],
    ]
    done = run([sys.executable, '-c', FORKS, json.dumps(commands)], tmp_path)
    errors = [(tmp_path / f'{number}.err').read_text()[-2000:] for number in range(3)]
    assert done.stdout.split() == ['0', '1', '0'], errors
    expected = probe(trained)['metrics']
    assert read_metrics(tmp_path / 'own.json') == expected
    assert read_metrics(tmp_path / 'whole.json') == expected
    assert 'parameters of MaskedImageModel are not in the checkpoint' in errors[1]


@pytest.mark.distributed
def test_two_processes_train_and_test_like_one(folder, trained, tmp_path):
    """2 x 2 images are 1 x 4: DDP means the gradients, and the ranks have equally many patches.

    The head's loss is the mean over the masked patches of its process. Where their number differs
    from rank to rank, the mean of the ranks' means is not that of all patches; BEiT masks the same
    number in each image.
    """
    batch = 'train_dataloader.batch_size=2'
    work_dir = tmp_path / 'run'
    arguments = ['--work-dir', work_dir, '--cfg-options', batch]
    shell(folder, 'dist_train.sh', 'tiny.py', 2, *arguments)
    ranks = [probe(work_dir, rank) for rank in range(2)]
    assert ranks[0]['state'] == ranks[1]['state']
    assert [step['images'] for step in ranks[1]['steps']] == [2] * 4
    assert [[step['masked'] for step in rank['steps']] for rank in ranks] == [[12] * 4] * 2
    expected, got = weights(trained / 'iter_4.pth'), weights(work_dir / 'iter_4.pth')
    assert set(got) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-6, msg=name)
    # 5 validation images are padded to 3 for each process
    assert ranks[0]['metrics'] == pytest.approx(probe(trained)['metrics'], rel=1e-5)

    out = tmp_path / 'metrics.json'
    arguments = [trained / 'iter_4.pth', 2, '--work-dir', tmp_path, '--out', out]
    shell(folder, 'dist_test.sh', 'tiny.py', *arguments)
    assert read_metrics(out) == pytest.approx(probe(trained)['metrics'], rel=1e-6)


def test_what_the_user_can_mend_is_a_message_with_status_1(folder, trained, tmp_path):
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    (tmp_path / 'leaf.py').write_text("_base_ = './broken.py'\n")
    (tmp_path / 'probe.py').write_text(PROBE)
    whole = weights(trained / 'iter_4.pth')
    headless = {name: tensor for name, tensor in whole.items() if not name.startswith('head.')}
    torch.save(headless, tmp_path / 'headless.pth')
    tiny, scratch = str(folder / 'tiny.py'), ['--work-dir', str(tmp_path / 'w'), '--cfg-options']
    cases = [
        ('There is no config file gone.py', 'train.py', 'gone.py'),
        ('There is no config file gone.py', 'test.py', 'gone.py', 'x.pth'),
        ('There is no config file gone.py', 'print_config.py', 'gone.py'),
        (f'{tmp_path}/broken.py, line 1: ', 'train.py', 'leaf.py'),
        ('--resume: there is no checkpoint x.pth', 'train.py', tiny, '--resume', 'x.pth'),
        ('There is no checkpoint x.pth', 'test.py', tiny, 'x.pth'),
        (
            '2 parameters of MaskedImageModel are not in the checkpoint',
            *('test.py', tiny, 'headless.pth', '--work-dir', str(tmp_path / 't')),
        ),
        (
            'train_dataloader.dataset.data_root: there is no folder nowhere',
            *('train.py', tiny, *scratch, 'train_dataloader.dataset.data_root=nowhere'),
        ),
        (
            "model.backbone.type: beit_mm has no 'BEiTEnkoder' in its registry 'model'",
            *('train.py', tiny, *scratch, 'model.backbone.type=BEiTEnkoder'),
        ),
        (
            'model.head.vocab_size: 8, but model.tokenizer.vocab_size=16',
            *('train.py', tiny, *scratch, 'model.head.vocab_size=8'),
        ),
        (
            f'{tiny} has no test_dataloader',
            *('test.py', tiny, str(trained / 'iter_4.pth'), *scratch, 'test_dataloader=None'),
        ),
        (
            '--save-path: leaf.py exists already',
            *('print_config.py', tiny, '--save-path', 'leaf.py'),
        ),
        ('', 'print_config.py', tiny, '--save-path', 'whole.py'),
    ]
    commands = [[str(ROOT / 'tools' / tool), *rest] for _, tool, *rest in cases]
    done = run([sys.executable, '-c', FORKS, json.dumps(commands)], tmp_path)
    assert done.returncode == 0, done.stderr
    *failed, last = map(int, done.stdout.split())
    assert (failed, last) == ([1] * (len(cases) - 1), 0)
    for number, (message, *command) in enumerate(cases):
        error = (tmp_path / f'{number}.err').read_text()
        assert 'Traceback' not in error, command
        assert not message or f'error: {message}' in error, command
    assert (tmp_path / 'leaf.py').read_text() == "_base_ = './broken.py'\n"
    read = partial(Config.fromfile, import_custom_modules=False)
    assert read(tmp_path / 'whole.py').model == read(tiny).model
