"""For each kind of plugin the least that its contract asks for, outside the package."""

import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from beit_mm.contracts import (
    Backbone,
    FeatureExtractor,
    MIMHead,
    MIMNeck,
    Quantizer,
    Target,
    Tokenizer,
    TrainingState,
    WrappedSource,
)
from beit_mm.registry import DATASETS, MODELS, TRANSFORMS


@MODELS.register_module(force=True)
class BrightnessTokenizer(Tokenizer):
    """The brightness of each patch in ``vocab_size`` steps; nothing of it is trained."""

    def encode(self, images):
        bright = F.avg_pool2d(images.mean(1, keepdim=True), self.stride)[:, 0]
        return (bright * self.vocab_size).long().clamp(max=self.vocab_size - 1)


@MODELS.register_module(force=True)
class FixedTokenizer(BrightnessTokenizer):
    """Its sizes stand in the constructor, where no config and no class says them."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(16, 8, data_preprocessor, init_cfg)


@MODELS.register_module(force=True)
class LearnedTokenizer(Tokenizer):
    """A tokenizer that a Runner trains, without a decoder."""

    def __init__(self, vocab_size=16, stride=8, **kwargs):
        super().__init__(vocab_size, stride, **kwargs)
        self.proj = nn.Conv2d(3, vocab_size, stride, stride=stride)

    def encode(self, images):
        return self.proj(images).argmax(1)

    def loss(self, inputs):
        logits = self.proj(inputs)
        self.latest_ids = logits.argmax(1)
        return dict(loss_energy=logits.square().mean())


@MODELS.register_module(force=True)
class BrightnessTarget(Target):
    stride = 8
    target_dims = 1

    def encode(self, images):
        return F.avg_pool2d(images.mean(1, keepdim=True), self.stride).permute(0, 2, 3, 1)


@MODELS.register_module(force=True)
class FixedTarget(BrightnessTarget):
    target_dims = None

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.target_dims = 1


@MODELS.register_module(force=True)
class LinearBackbone(Backbone):
    """A linear map of each patch and a class token."""

    def __init__(self, embed_dims=24, patch_size=8, init_cfg=None):
        super().__init__(init_cfg)
        self.embed_dims, self.patch_size = embed_dims, patch_size
        self.proj = nn.Conv2d(3, embed_dims, patch_size, stride=patch_size)
        self.mask_token = nn.Parameter(torch.zeros(embed_dims))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))

    def forward(self, x, mask=None):
        x = self.proj(x).flatten(2).transpose(1, 2)
        if mask is not None:
            x = torch.where(mask.flatten(1)[..., None], self.mask_token, x)
        return (torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x + x.mean(1, True)], 1),)


@MODELS.register_module(force=True)
class FixedBackbone(LinearBackbone):
    embed_dims, patch_size = 24, 8

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)


@MODELS.register_module(force=True)
class BareBackbone(Backbone):
    """A linear map of each patch, with a class token, without one, or as a map."""

    def __init__(self, embed_dims=32, patch_size=8, form='patches', init_cfg=None):
        super().__init__(init_cfg)
        self.embed_dims, self.patch_size, self.form = embed_dims, patch_size, form
        self.proj = nn.Conv2d(3, embed_dims, patch_size, stride=patch_size)

    def forward(self, x, mask=None):
        x = self.proj(x)
        if self.form == 'map':
            return (x,)
        x = x.flatten(2).transpose(1, 2)
        return (torch.cat([x.mean(1, True) - 5, x], 1) if self.form == 'class' else x,)


@MODELS.register_module(force=True)
class PlainNeck(MIMNeck):
    def forward(self, tokens, where):
        return tokens[-1][:, 1:][where.flatten(1)]


@MODELS.register_module(force=True)
class BareNeck(MIMNeck):
    """The patches of a BareBackbone, whatever its form."""

    def forward(self, tokens, where):
        last = tokens[-1].flatten(2).transpose(1, 2) if tokens[-1].ndim == 4 else tokens[-1]
        return last[:, -where[0].numel() :][where.flatten(1)]


@MODELS.register_module(force=True)
class NarrowNeck(PlainNeck):
    """A neck of another width than the encoder's."""

    derived = ('dims',)
    out_dims = 16

    def __init__(self, dims, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(dims, self.out_dims)

    def forward(self, tokens, where):
        return self.linear(super().forward(tokens, where))


@MODELS.register_module(force=True)
class PlainHead(MIMHead):
    """``loss`` and ``predict``, and nothing else."""

    def __init__(self, dims, classes, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(dims, classes)

    def loss(self, features, targets):
        return dict(loss_mim=F.cross_entropy(self.predict(features), targets))

    def predict(self, features):
        return self.linear(features)


@MODELS.register_module(force=True)
class PlainRegression(PlainHead):
    derived = ('dims',)

    def __init__(self, dims, init_cfg=None):
        super().__init__(dims, 1, init_cfg)

    def loss(self, features, targets):
        return dict(loss=F.mse_loss(self.predict(features), targets))


@MODELS.register_module(force=True)
class SignQuantizer(Quantizer):
    """The signs of ``bits`` numbers."""

    def __init__(self, bits=4):
        super().__init__()
        self.vocab_size, self.in_dims, self.code_dim = 2**bits, bits, bits
        self.register_buffer('weights', 2 ** torch.arange(bits))

    def forward(self, z):
        ids = self.encode(z)
        return z + (self.lookup(ids) - z).detach(), ids, {}

    def encode(self, z):
        return ((z > 0) * self.weights).sum(-1)

    def lookup(self, ids):
        return ((ids[..., None] & self.weights) > 0) * 2.0 - 1


@MODELS.register_module(force=True)
class PatchMeans(FeatureExtractor):
    """The mean of each channel in a patch of 8 pixels."""

    dims = 3

    def forward(self, images, grid=None):
        return F.avg_pool2d(images, 8).permute(0, 2, 3, 1)


@TRANSFORMS.register_module(force=True)
class HalfMask(BaseTransform):
    """Masks the left or the right half of the patches."""

    def __init__(self, grid):
        self.grid = grid

    def transform(self, results):
        mask = np.zeros((self.grid, self.grid), bool)
        half = slice(0, self.grid // 2) if random.random() < 0.5 else slice(self.grid // 2, None)
        mask[:, half] = True
        return dict(results, mask=mask)


@DATASETS.register_module(force=True)
class EverySecond(WrappedSource):
    """Every second sample of another data set."""

    def __init__(self, dataset):
        self.dataset = DATASETS.build(dataset)

    def __len__(self):
        return len(self.dataset) // 2

    def __getitem__(self, index):
        return self.dataset[2 * index]


@HOOKS.register_module(force=True)
class CountingHook(Hook, TrainingState):
    """Counts its steps over a resume."""

    def __init__(self):
        self.steps = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps += 1

    def training_state(self):
        return dict(steps=self.steps)

    def load_training_state(self, state):
        self.steps = state['steps']
