import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope

from beit_mm.contracts import UserError
from beit_mm.engine import BEiTOptimWrapperConstructor

BASES = Path(__file__).resolve().parents[3] / 'configs' / '_base_'
ARCH = dict(embed_dims=8, num_layers=3, num_heads=2, mlp_ratio=2)
LR, DECAY = 0.5, 0.05


def classifier(**backbone):
    """The classification model of the configs, cut down."""
    model = Config.fromfile(BASES / 'models' / 'beit-base-p16_cls.py').model
    model.backbone.update(arch=ARCH, img_size=32, abs_pos=True, **backbone)
    model.neck.dims = model.head.in_channels = 8
    model.head.num_classes = 3
    model.train_cfg = None
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(model, _scope_='mmpretrain'))


def segmentor():
    """The segmentation model of the configs, cut down."""
    model = Config.fromfile(BASES / 'models' / 'beit-base-p16_upernet.py').model
    norm = dict(type='BN', requires_grad=True)
    model.backbone.update(arch=ARCH, img_size=32, out_indices=(0, 1, 2), final_norm=True)
    model.neck.update(embed_dim=8, rescales=[4, 2, 1], norm_cfg=norm)
    model.decode_head.update(
        in_channels=[8] * 3, in_index=[0, 1, 2], channels=4, num_classes=3, norm_cfg=norm
    )
    model.auxiliary_head.update(in_channels=8, channels=4, num_classes=3, norm_cfg=norm)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(dict(model, _scope_='mmseg'))


def optimizer_of(model, **paramwise):
    config = dict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY), clip_grad=None
    )
    return BEiTOptimWrapperConstructor(config, paramwise)(model)


def settings(model, wrapper) -> dict[str, dict]:
    """Name -> the group of the optimizer that the parameter is in; each is in one only."""
    names = {id(param): name for name, param in model.named_parameters()}
    found = [
        (names[id(param)], group)
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    ]
    assert len(found) == len(dict(found))
    return dict(found)


def unilm_layer(name: str, num_layers: int) -> int:
    """The rule of unilm's get_num_layer_for_vit, for a name that starts with ``backbone.``."""
    if not name.startswith('backbone.'):
        return num_layers + 1
    name = name.removeprefix('backbone.')
    if name in ('cls_token', 'mask_token', 'pos_embed') or name.startswith('patch_embed.'):
        return 0
    return int(name.split('.')[1]) + 1 if name.startswith('blocks.') else num_layers + 1


def unilm_decays(name: str, param: torch.Tensor) -> bool:
    """The rule of unilm's get_parameter_groups with the model's skip list."""
    skipped = ('backbone.pos_embed', 'backbone.cls_token')
    return not (param.ndim == 1 or name.endswith('.bias') or name in skipped)


@pytest.mark.parametrize('make', [classifier, segmentor])
def test_every_parameter_has_unilms_rate_and_decay(make):
    model = make()
    found = settings(model, optimizer_of(model, layer_decay_rate=0.65))
    assert set(found) == set(dict(model.named_parameters()))
    for name, param in model.named_parameters():
        scale = 0.65 ** (3 + 1 - unilm_layer(name, 3))
        assert found[name]['lr'] == pytest.approx(LR * scale, rel=1e-12), name
        assert found[name]['weight_decay'] == (DECAY if unilm_decays(name, param) else 0), name


def test_rates_and_decays_by_name():
    """The rules in numbers, for names that are easily got wrong."""
    model = classifier(final_norm=True)
    found = settings(model, optimizer_of(model, layer_decay_rate=0.5))
    table = 'attn.relative_position_bias_table'
    expected = {  # name: (times the learning rate, decayed)
        'backbone.cls_token': (1 / 16, False),
        'backbone.pos_embed': (1 / 16, False),
        'backbone.mask_token': (1 / 16, True),
        'backbone.patch_embed.proj.weight': (1 / 16, True),
        'backbone.patch_embed.proj.bias': (1 / 16, False),
        'backbone.blocks.0.mlp.fc1.weight': (1 / 8, True),
        'backbone.blocks.0.mlp.fc1.bias': (1 / 8, False),
        f'backbone.blocks.1.{table}': (1 / 4, True),
        'backbone.blocks.2.norm1.weight': (1 / 2, False),
        'backbone.norm.weight': (1, False),
        'neck.norm.bias': (1, False),
        'head.fc.weight': (1, True),
        'head.fc.bias': (1, False),
    }
    for name, (scale, decayed) in expected.items():
        assert (found[name]['lr'], found[name]['weight_decay']) == (LR * scale, DECAY * decayed), (
            name
        )


def test_shared_table_learns_at_the_full_rate():
    model = classifier(rel_pos='shared')
    found = settings(model, optimizer_of(model, layer_decay_rate=0.5))
    group = found['backbone.rel_pos_bias.relative_position_bias_table']
    assert (group['lr'], group['weight_decay']) == (LR, DECAY)


def test_opt_out_of_decay():
    model = classifier()
    plain = settings(model, optimizer_of(model))
    found = settings(model, optimizer_of(model, decay_rel_pos=False, no_decay_names=['mask_token']))
    changed = {name for name in found if found[name]['weight_decay'] != plain[name]['weight_decay']}
    tables = {n for n in found if n.endswith('relative_position_bias_table')}
    assert len(tables) == 3
    assert changed == tables | {'backbone.mask_token'}
    assert all(found[name]['weight_decay'] == 0 for name in changed)


def test_frozen_parameters_are_in_no_group():
    model = classifier(frozen=True)
    found = settings(model, optimizer_of(model, layer_decay_rate=0.65))
    assert set(found) == {'neck.norm.weight', 'neck.norm.bias', 'head.fc.weight', 'head.fc.bias'}


def test_groups_are_the_same_inside_a_distributed_wrapper():
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        model = classifier()
        wrapped = MMDistributedDataParallel(model, device_ids=None)
        inside = settings(model, optimizer_of(wrapped, layer_decay_rate=0.65))
    finally:
        torch.distributed.destroy_process_group()
    alone = settings(model, optimizer_of(model, layer_decay_rate=0.65))
    strip = {name: (group['lr'], group['weight_decay']) for name, group in inside.items()}
    assert strip == {name: (g['lr'], g['weight_decay']) for name, g in alone.items()}


def test_schedule_of_fine_tuning_keeps_the_ratios_of_the_layers():
    """Each layer follows unilm's curve, warm-up to the rate and cosine to 1e-6, by its own factor.

    unilm begins with 0, where the config has a millionth of the rate.
    """
    schedule = Config.fromfile(BASES / 'schedules' / 'beit-base_ft-100e.py')
    epoch, warm_up, total = 20, 20 * 20, 100 * 20
    model = classifier()
    constructor = BEiTOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(schedule.optim_wrapper.optimizer)),
        schedule.optim_wrapper.paramwise_cfg,
    )
    wrapper = constructor(model)
    schedulers = [
        PARAM_SCHEDULERS.build(
            dict(dict(end=100), **config), default_args=dict(optimizer=wrapper, epoch_length=epoch)
        )
        for config in schedule.param_scheduler
    ]
    cosine = np.cos(math.pi * np.arange(total - warm_up) / (total - warm_up))
    curve = np.concatenate(
        [np.linspace(4e-3 * 1e-6, 4e-3, warm_up), 1e-6 + (4e-3 - 1e-6) * (1 + cosine) / 2]
    )
    scales = np.array([group['lr_scale'] for group in wrapper.optimizer.param_groups])
    assert sorted(set(scales)) == pytest.approx([0.65**i for i in (4, 3, 2, 1, 0)])
    for step, rate in enumerate(curve):
        rates = [group['lr'] for group in wrapper.optimizer.param_groups]
        np.testing.assert_allclose(rates, rate * scales, rtol=1e-7, err_msg=f'step {step}')
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    np.testing.assert_allclose(rates, 1e-6 * scales, rtol=0.01)  # where it ends


def test_unknown_keys_and_impossible_decays_are_refused():
    optimizer = dict(optimizer=dict(type='AdamW', lr=LR))
    with pytest.raises(ValueError, match=r'unknown \[.layer_decay.\].*layer_decay_rate'):
        BEiTOptimWrapperConstructor(optimizer, dict(layer_decay=0.65))
    for rate in (0, 1.5):
        with pytest.raises(ValueError, match='layer_decay_rate'):
            BEiTOptimWrapperConstructor(optimizer, dict(layer_decay_rate=rate))


def test_layer_decay_needs_a_backbone_that_knows_depths():
    model = nn.Module()
    model.head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='has no backbone'):
        optimizer_of(model, layer_decay_rate=0.5)
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='get_layer_depth'):
        optimizer_of(model, layer_decay_rate=0.5)
    assert len(settings(model, optimizer_of(model))) == 4


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        (dict(), 'lr=None'),
        (dict(lr='1e-3'), "lr='1e-3'"),
        (dict(lr=LR, weight_decay=None), 'weight_decay=None'),
        (dict(lr=LR, weight_decay='0.1'), "weight_decay='0.1'"),
    ],
)
def test_rates__that_are_no_numbers_are_named(given, text):
    with pytest.raises(UserError, match=rf'optim_wrapper\.optimizer\.{text}: expected a number'):
        BEiTOptimWrapperConstructor(dict(optimizer=dict(type='AdamW', **given)))(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ('optimizer', 'reason'),
    [
        (dict(type='Muon', lr=LR), 'only supports 2D parameters'),
        (dict(type='LBFGS', lr=LR), 'per-parameter options'),
        (dict(type='AdamW', lr=-1.0), 'Invalid learning rate: -1'),
        (dict(type='AdamW', lr=LR, fused=True, foreach=True), 'cannot be `True` together'),
        (dict(type='AdamW', lr=LR, momentum=0.9), 'momentum'),
        (dict(lr=LR), 'type'),
    ],
)
def test_optimizer__that_cannot_be_built_is_named_with_its_key(optimizer, reason):
    model = nn.Linear(2, 2)
    expected = rf'optim_wrapper\.optimizer=.*2 tensors of Linear.*{reason}.*another type'
    with pytest.raises(UserError, match=expected):
        BEiTOptimWrapperConstructor(dict(optimizer=optimizer))(model)


def test_frozen_model__is_told():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(UserError, match=r'optim_wrapper\.optimizer=.* 0 tensors of Linear'):
        BEiTOptimWrapperConstructor(dict(optimizer=dict(type='AdamW', lr=LR)))(model)


def adamw(fused: bool | None) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight) + number)
    optimizer = dict(Config.fromfile(BASES / 'schedules/beit-base_300e.py').optim_wrapper.optimizer)
    assert optimizer.pop('fused')
    if fused is not None:
        optimizer['fused'] = fused
    return model, BEiTOptimWrapperConstructor(dict(optimizer=optimizer))(model).optimizer


def update(model: nn.Module, optimizer, steps: range) -> list:
    for step in steps:
        for weight in model.parameters():
            weight.grad = torch.sin(torch.arange(weight.numel()) + step).view_as(weight) / 100
        optimizer.step()
    return [weight.detach().clone() for weight in model.parameters()]


def test_fused__updates_are_those_of_the_plain_optimizer():
    """The terms of an update are added in another order: one rounding of float32 for each."""
    for a, b in zip(update(*adamw(True), range(50)), update(*adamw(False), range(50)), strict=True):
        torch.testing.assert_close(a, b, rtol=50 * 2**-24, atol=0)


def test_fused__a_run_that_began_without_it_goes_on_bit_identically():
    model, optimizer = adamw(None)
    update(model, optimizer, range(5))
    resumed, other = adamw(True)
    resumed.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for a, b in zip(
        update(model, optimizer, range(5, 9)), update(resumed, other, range(5, 9)), strict=True
    ):
        assert torch.equal(a, b)


def test_registers__are_not_decayed():
    model = classifier()
    model.backbone.reg_token = nn.Parameter(torch.zeros(1, 4, 8))
    found = settings(model, optimizer_of(model))
    assert found['backbone.reg_token']['weight_decay'] == 0


@pytest.mark.parametrize('name, decay', [('AdamW', 0.01), ('SGD', 0)])
def test_weight_decay__left_out_is_the_default_of_the_optimizer(name, decay):
    model = classifier()
    config = dict(type='OptimWrapper', optimizer=dict(type=name, lr=LR))
    found = settings(model, BEiTOptimWrapperConstructor(config)(model))
    assert found['head.fc.weight']['weight_decay'] == decay
    assert found['head.fc.bias']['weight_decay'] == 0
