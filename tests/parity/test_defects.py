"""A test for each defect that is known of other BEiT implementations.

Where it is cheap, the defect is made once more, to see that the check would find it here.
"""

import math
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain.models import LinearClsHead
from PIL import Image

from beit_mm.contracts import Tokenizer
from beit_mm.datasets.transforms import BlockwiseMask, TwoViewResizedCrop
from beit_mm.engine.optim_wrappers import BEiTOptimWrapperConstructor
from beit_mm.models import BEiTEncoder, MaskedImageModel
from beit_mm.models.layers.init import truncated_normal_
from beit_mm.models.layers.transformer_block import DropPath, TransformerBlock
from beit_mm.models.necks import PatchAggregationNeck
from beit_mm.models.quantizers.gumbel_quantizer import kl_to_uniform
from beit_mm.models.tokenizers import VQKDTokenizer

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ARCH = dict(embed_dims=16, num_layers=2, num_heads=2)


class EMATokenizer(Tokenizer):
    """Follows what it encodes while it is in training mode, as a codebook of VQ-KD does."""

    def __init__(self):
        super().__init__(vocab_size=8, stride=8)
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.register_buffer('codes', torch.randn(8))
        self.dtypes = []

    def encode(self, images):
        logits = self.conv(images)
        self.dtypes.append(logits.dtype)
        if self.training:
            self.codes.lerp_(logits.mean((0, 2, 3)), 0.1)
        return (logits + self.codes[:, None, None]).argmax(1)


def vqkd():
    sizes = dict(vocab_size=8, code_dim=4, arch=ARCH, img_size=32, patch_size=8)
    return dict(type='VQKDTokenizer', **sizes)


def mim(tokenizer=None, **backbone):
    return MaskedImageModel(
        tokenizer=tokenizer or dict(type=EMATokenizer),
        backbone=dict(type='BEiTEncoder', arch=ARCH, img_size=32, patch_size=8, **backbone),
        neck=dict(type='MaskedPatchNeck', dims=16),
        head=dict(type='VisualTokenHead', vocab_size=8, dims=16),
    )


def batch():
    return dict(
        inputs=torch.randn(2, 3, 32, 32),
        token_inputs=torch.rand(2, 3, 32, 32),
        mask=torch.rand(2, 4, 4) < 0.4,
    )


def states(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def decay_of(model, **paramwise):
    constructor = BEiTOptimWrapperConstructor(dict(optimizer=dict(type='AdamW', lr=1.0)), paramwise)
    groups = constructor.param_groups(model, lr=1.0, weight_decay=0.05)
    found = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    return {name: found.get(id(p)) for name, p in model.named_parameters()}


def test_M1__last_row_and_column_are_masked(monkeypatch):
    def borders():
        where = np.mean([BlockwiseMask(14, num_masked=75)({})['mask'] for _ in range(300)], 0)
        return [where[0].mean(), where[-1].mean(), where[:, 0].mean(), where[:, -1].mean()]

    assert min(borders()) > 0.08
    # The last place is left out, as by numpy's randint in the place of Python's.
    whole = random.randrange
    monkeypatch.setattr(random, 'randrange', lambda stop: whole(max(stop - 1, 1)))
    assert borders()[1] == borders()[3] == 0


def test_M1__all_patches_can_be_asked_for():
    assert BlockwiseMask(14, mask_ratio=1.0, mode='exactly')({})['mask'].all()
    assert BlockwiseMask(14, num_masked=180)({})['mask'].sum() > 140


@pytest.mark.parametrize('tokenizer', [dict(type=EMATokenizer), vqkd()])
def test_M2__tokenizer_is_bit_identical_after_training_steps(tokenizer):
    model = mim(tokenizer)
    before = states(model.tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(5):
        model.train()
        model(**batch(), mode='loss')['loss'].backward()
        optimizer.step()
    assert same(before, states(model.tokenizer))
    assert not any(module.training for module in model.tokenizer.modules())


def test_M2__the_toy_moves_in_training_mode():
    tokenizer = EMATokenizer().train()
    before = states(tokenizer)
    tokenizer.encode(torch.rand(2, 3, 32, 32))
    assert not same(before, states(tokenizer))


def kept_and_scale(apply):
    """Part of the samples that a branch is kept for, and what it is multiplied by there."""
    out = apply(torch.ones(4000, 1, 1)).flatten()
    return (out != 0).float().mean().item(), out.max().item()


def test_M3__drop_path_acts_once_on_each_branch():
    block = TransformerBlock(4, 1, layer_scale_init=None, drop_path=0.5).train()
    for branch in ('attn.proj', 'mlp.fc2'):
        with torch.no_grad():
            for name in ('attn.proj', 'mlp.fc2'):
                linear = block.get_submodule(name)
                linear.weight.zero_()
                linear.bias.fill_(float(name == branch))
        added = kept_and_scale(lambda x: block(0 * x.expand(-1, 1, 4))[..., :1])
        assert added == (pytest.approx(0.5, abs=0.03), 2.0), branch
    drop = DropPath(0.5).train()
    assert kept_and_scale(lambda x: drop(drop(x))) == (pytest.approx(0.25, abs=0.03), 4.0)


@pytest.mark.parametrize('option', ['attn_drop_rate', 'drop_rate'])
def test_M4__dropout_of_the_attention_is_not_ignored(option):
    def changes(model):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
        x = torch.randn(1, 3, 32, 32)
        model.train()
        return not torch.equal(model(x)[0], model(x)[0])

    settings = dict(arch=ARCH, img_size=32, patch_size=8)
    assert changes(BEiTEncoder(**settings, **{option: 0.3}))
    assert not changes(BEiTEncoder(**settings))


def test_M5__views_are_antialiased_and_the_crop_reaches_every_edge():
    img = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    whole = dict(scale=(1.0, 1.0), ratio=(1, 1))
    view = TwoViewResizedCrop(224, 112, **whole)(dict(img=img))['token_img']
    wanted = np.asarray(Image.fromarray(img).resize((112, 112), Image.Resampling.LANCZOS))
    assert np.array_equal(view, wanted)
    not_antialiased = cv2.resize(img, (112, 112), interpolation=cv2.INTER_LANCZOS4)
    assert not np.array_equal(view, not_antialiased)
    assert view.std() < 0.7 * not_antialiased.std()  # noise is averaged

    crop = TwoViewResizedCrop(4, scale=(0.25, 0.25), ratio=(1, 1))
    places = {crop.sample_crop(6, 6)[:2] for _ in range(500)}
    assert places == {(top, left) for top in range(4) for left in range(4)}
    assert crop.sample_crop(2, 2)[2:] == (1, 1)
    assert TwoViewResizedCrop(4, **whole).sample_crop(6, 6) == (0, 0, 6, 6)


def test_M6__init_is_truncated_at_one_sigma():
    def is_beits(weight, scale=1.0):
        weight = weight * scale
        return abs(weight.std().item() - 0.0108) < 3e-4 and weight.abs().max() <= 0.0200001

    arch = dict(embed_dims=96, num_layers=2, num_heads=2)
    model = BEiTEncoder(arch=arch, img_size=32, patch_size=8)
    model.init_weights()
    assert is_beits(model.patch_embed['proj'].weight)
    for layer, block in enumerate(model.blocks, start=1):
        assert is_beits(block.attn.qkv.weight) and is_beits(block.mlp.fc1.weight)
        assert is_beits(block.attn.proj.weight, math.sqrt(2 * layer))
        assert is_beits(block.mlp.fc2.weight, math.sqrt(2 * layer))
        assert block.mlp.fc1.bias.eq(0).all()
    weight = torch.empty(96, 96)
    assert is_beits(truncated_normal_(weight))
    assert not is_beits(nn.init.trunc_normal_(weight, std=0.02))  # truncated at +-2
    assert not is_beits(nn.init.xavier_uniform_(weight))


def test_M7__depth_scaling_of_the_neck_outlives_init_weights():
    neck = PatchAggregationNeck(96, 2, num_layers=2, early_layer=9, depth=12)
    neck.init_weights()
    for layer, block in zip((10, 11), neck.blocks, strict=True):
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            std = weight.std().item() * math.sqrt(2 * layer)
            assert std == pytest.approx(0.0108, rel=0.04)


def random_tables(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=1.0 if name.endswith('table') else 0.2)
    return model.eval()


def saved(model, path):
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def test_M8__load_from_keeps_the_shared_bias(tmp_path):
    """``load_from`` loads into the whole model, where names have the prefix ``backbone.``."""
    pretrained = random_tables(mim())
    path = saved(pretrained, tmp_path / 'pretrained.pth')
    wanted = pretrained.backbone.rel_pos_bias.relative_position_bias_table
    for rel_pos in ('per_layer', 'shared'):
        model = mim(rel_pos=rel_pos).eval()
        load_checkpoint(model, path)
        tables = [p for n, p in model.named_parameters() if n.endswith('table')]
        assert len(tables) == (2 if rel_pos == 'per_layer' else 1)
        assert all(torch.equal(table, wanted) for table in tables)
        x = torch.randn(1, 3, 32, 32)
        assert torch.allclose(model.backbone(x)[0], pretrained.backbone(x)[0], atol=1e-5)


@pytest.mark.parametrize('rel_pos', ['shared', 'per_layer'])
@pytest.mark.parametrize('size', [(256, 256), (224, 192), (512, 512), (640, 640)])
def test_M9__other_sizes_run_and_load(rel_pos, size):
    small = random_tables(BEiTEncoder(ARCH, img_size=224, patch_size=32, rel_pos=rel_pos))
    large = BEiTEncoder(ARCH, img_size=size, patch_size=32, rel_pos=rel_pos).eval()
    large.load_state_dict(small.state_dict())
    x = torch.randn(1, 3, *size)
    assert torch.allclose(large(x)[0], small(x)[0], atol=1e-4)
    with_tables = large(x)[0]
    for name, parameter in large.named_parameters():
        if name.endswith('table'):
            nn.init.zeros_(parameter)
    assert not torch.allclose(large(x)[0], with_tables, atol=1e-2)  # they matter


def test_M10__forward_leaves_no_tensor_on_the_modules():
    model = random_tables(mim()).train()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    model(**batch(), mode='loss')
    assert not vars(model).pop('latest_ids').is_floating_point()  # what hooks watch
    for name, module in model.named_modules():
        assert set(vars(module)) == before[name]
        assert not any(isinstance(value, torch.Tensor) for value in vars(module).values())
    compiled = torch.compile(model.backbone, backend='eager', fullgraph=True)
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(compiled(x)[0], model.backbone(x)[0], atol=1e-5)


@pytest.mark.parametrize('tokenizer', [dict(type=EMATokenizer), vqkd()])
def test_M11__tokenizer_is_absent_from_the_optimizer(tokenizer):
    model = mim(tokenizer)
    in_optimizer = decay_of(model)
    names = [name for name in in_optimizer if name.startswith('tokenizer.')]
    assert names and all(in_optimizer[name] is None for name in names)
    assert all(value is not None for name, value in in_optimizer.items() if name not in names)
    model(**batch(), mode='loss')['loss'].backward()
    for name, parameter in model.named_parameters():  # so that DDP finds none unused
        assert (parameter.grad is None) == name.startswith('tokenizer.'), name


def test_M12__fine_tuning_normalizes_as_pre_training_does():
    def statistics(path):
        config = Config.fromfile(CONFIGS / path)
        preprocessor = config.get('data_preprocessor') or config.model.data_preprocessor
        return preprocessor.mean, preprocessor.std

    wanted = statistics('_base_/datasets/in1k_pretrain-224.py')
    for name in (
        'datasets/in1k_ft-224',
        'datasets/in1k_linear-probe-224',
        'models/beit-base-p16_seg',
    ):
        assert statistics(f'_base_/{name}.py') == wanted, name


def test_M13__tokens_are_decided_in_full_precision():
    model = mim()
    data = batch()
    with torch.autocast('cpu', torch.bfloat16):
        model(**data, mode='loss')
        model.tokenizer.encode(data['token_inputs'])
    assert model.tokenizer.dtypes == [torch.float32, torch.bfloat16]


def test_M14__norms_are_not_decayed():
    decays = decay_of(mim(abs_pos=True))
    for name, decay in decays.items():
        if name.startswith('tokenizer.'):
            continue
        free = name.endswith(('norm.weight', 'norm1.weight', 'norm2.weight', 'bias', 'gamma_1'))
        if free or name.endswith(('cls_token', 'pos_embed', 'gamma_2')):
            assert decay == 0.0, name
        else:
            assert decay == 0.05, name
    assert decays['neck.norm.weight'] == 0.0


def test_M15__the_classifier_starts_near_zero():
    head_cfg = Config.fromfile(CONFIGS / '_base_/models/beit-base-p16_cls.py').model.head
    head_cfg.pop('type')
    head = LinearClsHead(**head_cfg)
    head.init_weights()
    assert head.fc.weight.std().item() == pytest.approx(0.02 * 0.001, rel=0.02)
    assert head.fc.bias.eq(0).all()


@pytest.mark.parametrize('img_size', [32, 64, (32, 48)])
def test_S1__segmentation_loads_what_is_only_self_supervised(tmp_path, img_size):
    pretrained = random_tables(mim())
    path = saved(pretrained, tmp_path / 'pretrained.pth')
    backbone = BEiTEncoder(
        ARCH,
        img_size=img_size,
        patch_size=8,
        rel_pos='per_layer',
        out_type='featmap',
        out_indices=(0, 1),
        init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'),
    )
    backbone.init_weights()
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    x = torch.randn(1, 3, height, width)
    wanted = pretrained.backbone(x)[0][:, 1:].transpose(1, 2)
    assert torch.allclose(backbone.eval()(x)[-1].flatten(2), wanted, atol=1e-4)


def test_S2__layers_share_nothing_and_start_without_a_bias():
    model = BEiTEncoder(ARCH, img_size=32, patch_size=8, rel_pos='per_layer', attn_drop_rate=0.1)
    other = BEiTEncoder(ARCH, img_size=32, patch_size=8, rel_pos='per_layer')
    assert [block.attn.attn_drop for block in model.blocks] == [0.1, 0.1]
    assert [block.attn.attn_drop for block in other.blocks] == [0.0, 0.0]
    tables = [block.attn.relative_position_bias_table for block in model.blocks]
    assert tables[0] is not tables[1] and all(table.eq(0).all() for table in tables)


def test_S2__tokens_are_exempt_from_decay_under_any_prefix():
    decays = decay_of(nn.ModuleDict(dict(wrapped=mim(abs_pos=True))))
    for name in ('cls_token', 'pos_embed'):
        assert decays[f'wrapped.backbone.{name}'] == 0.0


@pytest.mark.parametrize('images', [1, 64])
def test_KL__is_that_of_one_position(images):
    logits = torch.randn(images, 4, 4, 8)
    log_posterior = logits.log_softmax(-1)
    uniform = torch.full((8,), 1 / 8).log()
    wanted = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Categorical(logits=uniform.expand_as(logits)),
    ).mean()
    assert kl_to_uniform(log_posterior).item() == pytest.approx(wanted.item(), rel=1e-5)
    # With 'batchmean' and a first argument of one row, the sum over batch and positions is left.
    summed = F.kl_div(
        uniform[:1], log_posterior.flatten(0, 2), reduction='batchmean', log_target=True
    )
    assert summed.item() == pytest.approx(images * 16 * wanted.item(), rel=1e-3)


def test_M2__vqkd_encodes_without_following():
    from beit_mm.registry import MODELS

    tokenizer = MODELS.build(vqkd()).train()
    assert isinstance(tokenizer, VQKDTokenizer)
    before = states(tokenizer)
    tokenizer.encode(torch.rand(2, 3, 32, 32))
    assert same(before, states(tokenizer))
    tokenizer.codebook(torch.randn(2, 5, 4))
    assert not same(before, states(tokenizer))
