import sys
import types

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner

from beit_mm.contracts import Tokenizer, TokenSource
from beit_mm.engine import TokenizerPicturesHook
from beit_mm.visualization import reconstruction_grid, to_rgb, usage_histogram

pytestmark = pytest.mark.slow

SIZE = 6


class Images(BaseDataset):
    def load_data_list(self):
        generator = torch.Generator().manual_seed(0)
        return [dict(image=torch.rand(3, 8, 8, generator=generator)) for _ in range(SIZE)]

    def prepare_data(self, index):
        return dict(inputs=self.get_data_info(index)['image'])


class Brightness(Tokenizer):
    """Brightness in one of ``vocab_size`` steps, for each quarter of an image."""

    def __init__(self, decodes=True):
        super().__init__(vocab_size=7, stride=4)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.decodes = decodes

    def encode(self, inputs):
        return (inputs.mean(1).unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4)) * 60 - 27).long() % 7

    def forward(self, inputs, mode='tensor'):
        if mode == 'loss':
            return dict(loss=self.scale * inputs.mean())
        names = ('image', 'ids', 'recon') if self.decodes else ('image', 'ids')
        parts = zip(inputs, self.encode(inputs), 1 - inputs, strict=True)
        return [dict(zip(names, sample, strict=False)) for sample in parts]


class NoMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {}


def train(work_dir, backend='LocalVisBackend', model=None, iterations=2, **kwargs):
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=Images(serialize_data=False),
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        model=model or Brightness(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=Evaluator(NoMetric()),
        train_cfg=dict(by_epoch=False, max_iters=iterations, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[TokenizerPicturesHook(**kwargs)],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type=backend)], name=work_dir.name),
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=work_dir.name,
        log_level='ERROR',
        default_scope='beit_mm',
    )
    runner.train()
    return runner


def expected():
    images = torch.stack([info['image'] for info in Images().load_data_list()])
    counts = torch.bincount(Brightness().encode(images).flatten(), minlength=7).numpy()
    pairs = to_rgb(images[:5].numpy()), to_rgb(1 - images[:5].numpy())
    return dict(
        tokenizer_usage=usage_histogram(counts),
        tokenizer_reconstructions=reconstruction_grid(*pairs),
    )


def test_local_files__the_whole_validation_set_each_time(tmp_path):
    train(tmp_path, num_images=5)
    for name, picture in expected().items():
        for step in (1, 2):
            (path,) = tmp_path.glob(f'*/vis_data/vis_image/{name}_{step}.png')
            assert np.array_equal(cv2.imread(str(path))[..., ::-1], picture), name


def test_tensorboard__is_given_the_same_pictures(tmp_path, monkeypatch):
    given = {}

    class SummaryWriter:  # TensorBoard need not be there
        def __init__(self, log_dir):
            pass

        def add_image(self, name, image, step, dataformats):
            assert dataformats == 'HWC'
            given[name, step] = image

        def __getattr__(self, name):
            return lambda *args, **kwargs: None

    writer = types.ModuleType('torch.utils.tensorboard')
    writer.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', writer)
    train(tmp_path, 'TensorboardVisBackend', num_images=5, iterations=1)
    assert set(given) == {(name, 1) for name in expected()}
    for name, picture in expected().items():
        assert np.array_equal(given[name, 1], picture)


def test_interval_counts_validations(tmp_path):
    train(tmp_path, iterations=5, interval=2)
    steps = {path.stem for path in tmp_path.glob('*/vis_data/vis_image/tokenizer_usage_*')}
    assert steps == {f'tokenizer_usage_{step}' for step in (1, 3, 5)}


def test_no_decoder__the_histogram_alone(tmp_path):
    train(tmp_path, model=Brightness(decodes=False), iterations=1)
    (path,) = tmp_path.glob('*/vis_data/vis_image/*')
    assert path.name == 'tokenizer_usage_1.png'


class Pretraining(BaseModel, TokenSource):
    def __init__(self):
        super().__init__()
        self.tokenizer = Brightness()
        self.vocab_size = 7

    def forward(self, inputs, mode='tensor'):
        if mode == 'loss':
            return self.tokenizer(inputs, mode)
        return [dict(target_ids=ids.flatten()[:3]) for ids in self.tokenizer.encode(inputs)]


def test_pretraining__the_histogram_of_its_targets(tmp_path):
    train(tmp_path, model=Pretraining(), iterations=1)
    images = torch.stack([info['image'] for info in Images().load_data_list()])
    targets = Brightness().encode(images).flatten(1)[:, :3]
    (path,) = tmp_path.glob('*/vis_data/vis_image/*')
    assert path.name == 'target_usage_1.png'
    expected = usage_histogram(torch.bincount(targets.flatten(), minlength=7).numpy())
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], expected)


def test_resumed__goes_on_counting_validations():
    own, other = TokenizerPicturesHook(interval=3), TokenizerPicturesHook(interval=3)
    own.validations = 2
    other.load_training_state(own.training_state())
    other.validations += 1
    assert not other.is_due
    other.validations += 1
    assert other.is_due


def test_another_model__is_refused_in_words(tmp_path):
    class Other(Pretraining):
        def __init__(self):
            super().__init__()
            self.vocab_size = None  # continuous targets

    with pytest.raises(ValueError, match='model.type=Other, which is no tokenizer'):
        train(tmp_path, model=Other(), iterations=1)
    for wrong in (dict(num_images=0), dict(interval=0)):
        with pytest.raises(ValueError, match='TokenizerPicturesHook.* expected an integer >= 1'):
            TokenizerPicturesHook(**wrong)
