"""The numbers of the published recipes.

Sources: unilm is microsoft/unilm at 768a3c87 (files below beit/), the papers are arXiv 2106.08254
(BEiT) and 2102.12092 (DALL-E).
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.registry import PARAM_SCHEDULERS

from beit_mm.cli.config_loading import load_config
from beit_mm.engine import AttributeScheduleHook, BEiTOptimWrapperConstructor
from beit_mm.models import BEiTEncoder, MaskedPatchNeck, VisualTokenHead

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PRETRAIN = 'pretrain/beit_beit-{}_in1k.py'
B300 = PRETRAIN.format('base-p16_8xb256-amp-coslr-300e')
B800 = PRETRAIN.format('base-p16_8xb256-amp-coslr-800e')
ABS300 = PRETRAIN.format('base-p16-abs_8xb256-amp-coslr-300e')
ABS800 = PRETRAIN.format('base-p16-abs_8xb256-amp-coslr-800e')
L300 = PRETRAIN.format('large-p16_16xb128-amp-coslr-300e')
L800 = PRETRAIN.format('large-p16_16xb128-amp-coslr-800e')
FT_B300 = 'classification/beit-base-p16_beit-300e_8xb128-amp-coslr-100e_in1k.py'
FT_B800 = 'classification/beit-base-p16_beit-800e_8xb128-amp-coslr-100e_in1k.py'
FT_ABS800 = 'classification/beit-base-p16-abs_beit-800e_8xb128-amp-coslr-100e_in1k.py'
FT_L800 = 'classification/beit-large-p16_beit-800e_8xb128-amp-coslr-50e_in1k.py'
PROBE_B = 'classification/beit-base-p16_beit-800e-linear-probe_8xb128-coslr-50e_in1k.py'
PROBE_L = 'classification/beit-large-p16_beit-800e-linear-probe_8xb128-coslr-50e_in1k.py'
ADE = 'segmentation/beit-{}_ade20k-{}.py'
UPER_B512 = ADE.format('base-p16_beit-800e_upernet_8xb2-amp-160k', '512x512')
UPER_B640 = ADE.format('base-p16_beit-800e_upernet_8xb2-amp-160k', '640x640')
UPER_L640 = ADE.format('large-p16_beit-800e_upernet_8xb1-amp-320k', '640x640')
PUP = ADE.format('base-p16_beit-800e_setr-pup_8xb2-amp-160k', '512x512')
PUP_ABS = ADE.format('base-p16-abs_beit-800e_setr-pup_8xb2-amp-160k', '512x512')
DVAE = 'tokenizer/dvae_dalle-v8192_64xb8-3000000i_in1k.py'

# unilm beit2: PRETRAINING.md, TOKENIZER.md, get_started_for_image_classification.md
V2 = 'pretrain/beitv2_beit-{}_in1k.py'
V2_B300 = V2.format('base-p16_8xb256-amp-coslr-300e')
V2_B1600 = V2.format('base-p16_8xb256-amp-coslr-1600e')
V2_L300 = V2.format('large-p16_16xb128-amp-coslr-300e')
V2_L1600 = V2.format('large-p16_16xb128-amp-coslr-1600e')
V2_FT = 'classification/beit-{}_in1k.py'
V2_FT_B300 = V2_FT.format('base-p16_beitv2-300e_8xb128-amp-coslr-100e')
V2_FT_B1600 = V2_FT.format('base-p16_beitv2-1600e_8xb128-amp-coslr-100e')
V2_FT_L300 = V2_FT.format('large-p16_beitv2-300e_8xb128-amp-coslr-50e')
V2_FT_L1600 = V2_FT.format('large-p16_beitv2-1600e_8xb128-amp-coslr-50e')
V2_UPER_B = ADE.format('base-p16_beitv2-1600e_upernet_8xb2-amp-160k', '512x512')
V2_UPER_L = ADE.format('large-p16_beitv2-1600e_upernet_8xb2-amp-160k', '512x512')
VQKD = 'tokenizer/vqkd_{}-base-p16-{}_8xb64-amp-coslr-100e_in1k.py'
VQKD1 = VQKD.format('clip', 'dec1')
VQKD3 = VQKD.format('clip', 'dec3')
VQKD_DINO = VQKD.format('dino', 'dec1')

IN1K_MEAN = [123.675, 116.28, 103.53]  # 255 * (0.485, 0.456, 0.406)
IN1K_STD = [58.395, 57.12, 57.375]


@cache
def config(name):
    return load_config(CONFIGS / name)


def value(name, path):
    """``transforms.X`` is the transform X of the training pipeline."""
    node = config(name)
    for key in path.split('.'):
        if key == 'transforms':
            pipeline = node.train_dataloader.dataset.pipeline
            node = {step['type'].split('.')[-1]: step for step in pipeline}
        else:
            node = node[int(key) if isinstance(node, list) else key]
    return tuple(node) if isinstance(node, list) else node


BACKBONE = 'model.backbone'
ADAMW = 'optim_wrapper.optimizer'
DECAY = 'optim_wrapper.paramwise_cfg.layer_decay_rate'
PRETRAINS = (B300, B800, ABS300, ABS800, L300, L800)
FINE_TUNES = (FT_B300, FT_B800, FT_ABS800, FT_L800)
V2_PRETRAINS = (V2_B300, V2_B1600, V2_L300, V2_L1600)
V2_FINE_TUNES = (V2_FT_B300, V2_FT_B1600, V2_FT_L300, V2_FT_L1600)
V2_SEGMENTATIONS = (V2_UPER_B, V2_UPER_L)
VQKDS = (VQKD1, VQKD3, VQKD_DINO)
SEGMENTATIONS = (UPER_B512, UPER_B640, UPER_L640, PUP, PUP_ABS)

ROWS = [
    # Pre-training: unilm beit/run_beit_pretraining.py:36-97 and beit/README.md:108-141
    (PRETRAINS, 'train_dataloader.batch_size', {L300: 128, L800: 128, None: 256}),
    (PRETRAINS, 'auto_scale_lr.base_batch_size', 2048),
    (PRETRAINS, f'{ADAMW}.type', 'AdamW'),
    (PRETRAINS, f'{ADAMW}.lr', 1.5e-3),
    (PRETRAINS, f'{ADAMW}.betas', (0.9, 0.999)),
    (PRETRAINS, f'{ADAMW}.eps', 1e-8),
    (PRETRAINS, f'{ADAMW}.weight_decay', 0.05),
    (PRETRAINS, 'optim_wrapper.clip_grad.max_norm', {L300: 1.0, L800: 1.0, None: 3.0}),
    (PRETRAINS, f'{BACKBONE}.drop_path_rate', 0.1),
    (PRETRAINS, f'{BACKBONE}.img_size', 224),
    (PRETRAINS, f'{BACKBONE}.patch_size', 16),
    ((B300, B800), f'{BACKBONE}.layer_scale_init', 0.1),  # run_beit_pretraining.py:48
    ((L300, L800), f'{BACKBONE}.layer_scale_init', 1e-5),  # README.md:120
    ((B300, B800, L300, L800), f'{BACKBONE}.rel_pos', 'shared'),  # :43
    ((ABS300, ABS800), f'{BACKBONE}.rel_pos', None),  # README.md:190, paper section 2.2
    ((ABS300, ABS800), f'{BACKBONE}.layer_scale_init', None),
    ((ABS300, ABS800, FT_ABS800, PUP_ABS), f'{BACKBONE}.abs_pos', True),
    (PRETRAINS, 'model.tokenizer.vocab_size', 8192),
    # Masks and views: run_beit_pretraining.py:51-59, datasets.py:33-40
    (PRETRAINS, 'transforms.BlockwiseMask.num_masked', 75),
    (PRETRAINS, 'transforms.BlockwiseMask.min_block', 16),
    (PRETRAINS, 'transforms.BlockwiseMask.grid', 14),
    (PRETRAINS, 'transforms.TwoViewResizedCrop.size', 224),
    (PRETRAINS, 'transforms.TwoViewResizedCrop.token_size', 112),
    (PRETRAINS, 'transforms.TwoViewResizedCrop.interpolation', 'bicubic'),
    (PRETRAINS, 'transforms.TwoViewResizedCrop.token_interpolation', 'lanczos'),
    (PRETRAINS, 'transforms.TwoViewResizedCrop.scale', (0.08, 1.0)),
    (PRETRAINS, 'transforms.RGBJitter.brightness', 0.4),
    (PRETRAINS, 'transforms.RGBJitter.contrast', 0.4),
    (PRETRAINS, 'transforms.RGBJitter.saturation', 0.4),
    (PRETRAINS, 'transforms.RandomFlip.prob', 0.5),
    # Fine-tuning: get_started_for_image_classification.md:57-69, run_class_finetuning.py:78-118
    (FINE_TUNES, f'{ADAMW}.lr', {FT_L800: 1e-3, None: 4e-3}),
    (FINE_TUNES, f'{ADAMW}.betas', (0.9, 0.999)),
    (FINE_TUNES, f'{ADAMW}.weight_decay', 0.05),
    (FINE_TUNES, DECAY, {FT_L800: 0.75, None: 0.65}),
    (FINE_TUNES, f'{BACKBONE}.drop_path_rate', {FT_L800: 0.2, None: 0.1}),
    (FINE_TUNES, f'{BACKBONE}.rel_pos', {FT_ABS800: None, None: 'per_layer'}),
    (FINE_TUNES, 'auto_scale_lr.base_batch_size', 1024),
    (FINE_TUNES, 'model.head.loss.label_smooth_val', 0.1),
    (FINE_TUNES, 'model.train_cfg.augments.0', dict(type='Mixup', alpha=0.8)),
    (FINE_TUNES, 'model.train_cfg.augments.1', dict(type='CutMix', alpha=1.0)),
    (FINE_TUNES, 'model.head.init_cfg.std', 0.02 * 0.001),  # modeling_finetune.py:298-300
    (FINE_TUNES, 'transforms.RandAugment.policies', 'timm_increasing'),  # rand-m9-mstd0.5-inc1
    (FINE_TUNES, 'transforms.RandAugment.num_policies', 2),
    (FINE_TUNES, 'transforms.RandAugment.magnitude_level', 9),
    (FINE_TUNES, 'transforms.RandAugment.magnitude_std', 0.5),
    (FINE_TUNES, 'transforms.RandAugment.total_level', 10),
    (FINE_TUNES, 'transforms.RandomErasing.erase_prob', 0.25),
    (FINE_TUNES, 'transforms.RandomErasing.mode', 'rand'),
    (FINE_TUNES, 'transforms.RandomErasing.min_area_ratio', 0.02),
    (FINE_TUNES, 'transforms.RandomErasing.max_area_ratio', 1 / 3),
    (FINE_TUNES, 'transforms.RandomResizedCrop.interpolation', 'bicubic'),
    (FINE_TUNES + (PROBE_B, PROBE_L), 'val_dataloader.dataset.pipeline.1.scale', 256),
    (FINE_TUNES + (PROBE_B, PROBE_L), 'val_dataloader.dataset.pipeline.2.crop_size', 224),
    # Linear probe: run_linear_eval.py:78-130,341; layers and epochs of the paper's appendix D
    ((PROBE_B, PROBE_L), f'{BACKBONE}.out_indices', {PROBE_B: 9 - 1, None: 14 - 1}),
    ((PROBE_B, PROBE_L), f'{BACKBONE}.frozen', True),
    ((PROBE_B, PROBE_L), f'{ADAMW}.lr', 4e-3),
    ((PROBE_B, PROBE_L), f'{ADAMW}.weight_decay', 1e-4),
    ((PROBE_B, PROBE_L), 'auto_scale_lr.base_batch_size', 8 * 128),
    ((PROBE_B, PROBE_L), 'model.head.init_cfg', dict(type='Normal', layer='Linear', std=0.01)),
    ((PROBE_B, PROBE_L), 'transforms.RandomResizedCrop.interpolation', 'bilinear'),
    # ADE20K: beit/semantic_segmentation/configs/beit/upernet/*_{pt,pt2ft}.py; SETR-PUP: table 14
    (
        SEGMENTATIONS,
        f'{ADAMW}.lr',
        {UPER_B512: 7e-4, UPER_B640: 3e-5, UPER_L640: 2e-5, None: 1e-3},
    ),
    (SEGMENTATIONS, DECAY, {UPER_B640: 0.9, UPER_L640: 0.95, None: 0.65}),
    (SEGMENTATIONS, f'{ADAMW}.weight_decay', 0.05),
    (SEGMENTATIONS, f'{ADAMW}.betas', (0.9, 0.999)),
    (SEGMENTATIONS, f'{BACKBONE}.drop_path_rate', {UPER_L640: 0.2, None: 0.1}),
    ((UPER_B512, UPER_B640), f'{BACKBONE}.out_indices', (3, 5, 7, 11)),
    ((UPER_L640,), f'{BACKBONE}.out_indices', (7, 11, 15, 23)),
    ((UPER_L640,), 'optim_wrapper.accumulative_counts', 2),
    ((UPER_B512, PUP, PUP_ABS), 'model.test_cfg.stride', (341, 341)),
    ((UPER_B640, UPER_L640), 'model.test_cfg.stride', (426, 426)),
    ((UPER_B512, UPER_B640), 'model.decode_head.channels', 768),
    ((UPER_L640,), 'model.decode_head.channels', 1024),
    ((UPER_B512, UPER_B640, UPER_L640), 'model.auxiliary_head.channels', 256),
    ((UPER_B512, UPER_B640, UPER_L640), 'model.auxiliary_head.loss_decode.loss_weight', 0.4),
    # BEiT v2, pre-training
    (V2_PRETRAINS, 'auto_scale_lr.base_batch_size', 2048),
    (V2_PRETRAINS, f'{ADAMW}.lr', 1.5e-3),
    (
        V2_PRETRAINS,
        f'{ADAMW}.betas',
        {V2_B300: (0.9, 0.98), V2_L300: (0.9, 0.98), None: (0.9, 0.999)},
    ),
    (V2_PRETRAINS, f'{ADAMW}.weight_decay', 0.05),
    (V2_PRETRAINS, 'optim_wrapper.clip_grad.max_norm', 3.0),
    (V2_PRETRAINS, f'{BACKBONE}.drop_path_rate', {V2_B300: 0.0, V2_L300: 0.0, None: 0.1}),
    (V2_PRETRAINS, 'model.neck.drop_path_rate', {V2_B300: 0.0, V2_L300: 0.0, None: 0.1}),
    (V2_PRETRAINS, f'{BACKBONE}.layer_scale_init', {V2_L300: 1e-5, V2_L1600: 1e-5, None: 0.1}),
    (V2_PRETRAINS, 'model.neck.layer_scale_init', {V2_L300: 1e-5, V2_L1600: 1e-5, None: 0.1}),
    (V2_PRETRAINS, f'{BACKBONE}.rel_pos', 'shared'),
    (V2_PRETRAINS, 'model.neck.early_layer', {V2_L300: 21, V2_L1600: 21, None: 9}),
    (V2_PRETRAINS, 'model.neck.num_layers', 2),
    (V2_PRETRAINS, 'model.tokenizer.vocab_size', 8192),
    (V2_PRETRAINS, 'transforms.BlockwiseMask.num_masked', 75),
    (V2_PRETRAINS, 'transforms.BlockwiseMask.mode', 'exactly'),
    (V2_PRETRAINS, 'transforms.TwoViewResizedCrop.token_size', 224),
    (V2_PRETRAINS, 'transforms.TwoViewResizedCrop.token_interpolation', 'bicubic'),
    (V2_PRETRAINS, 'transforms.TwoViewResizedCrop.scale', (0.2, 1.0)),
    # its fine-tuning
    (V2_FINE_TUNES, 'auto_scale_lr.base_batch_size', 1024),
    (V2_FINE_TUNES, f'{ADAMW}.lr', {V2_FT_L1600: 2e-4, None: 5e-4}),
    (V2_FINE_TUNES, DECAY, {V2_FT_B300: 0.65, V2_FT_B1600: 0.6, None: 0.8}),
    (V2_FINE_TUNES, f'{BACKBONE}.drop_path_rate', {V2_FT_B300: 0.1, None: 0.2}),
    (V2_FINE_TUNES, f'{BACKBONE}.rel_pos', 'per_layer'),
    (V2_FINE_TUNES, 'train_cfg.max_epochs', {V2_FT_B300: 100, V2_FT_B1600: 100, None: 50}),
    (V2_SEGMENTATIONS, f'{ADAMW}.lr', {V2_UPER_B: 5e-5, None: 4e-5}),
    (V2_SEGMENTATIONS, DECAY, {V2_UPER_B: 0.75, None: 0.9}),
    (V2_SEGMENTATIONS, f'{BACKBONE}.drop_path_rate', {V2_UPER_B: 0.15, None: 0.2}),
    # and its tokenizer
    (VQKDS, 'model.vocab_size', 8192),
    (VQKDS, 'model.code_dim', 32),
    (VQKDS, 'model.decoder_layers', {VQKD3: 3, None: 1}),
    (VQKDS, 'auto_scale_lr.base_batch_size', 512),
    (VQKDS, f'{ADAMW}.lr', 5e-5 * 512 / 128),
    (VQKDS, f'{ADAMW}.betas', (0.9, 0.99)),
    (VQKDS, f'{ADAMW}.weight_decay', 1e-4),
    (VQKDS, 'transforms.TwoViewResizedCrop.scale', (0.08, 1.0)),
    (VQKDS, 'transforms.TwoViewResizedCrop.interpolation', 'bicubic'),
    (VQKDS, 'transforms.RandomFlip.prob', 0.5),
    # The dVAE: DALL-E's appendix A.2
    ((DVAE,), f'{ADAMW}.betas', (0.9, 0.999)),
    ((DVAE,), f'{ADAMW}.weight_decay', 1e-4),
    ((DVAE,), 'model.vocab_size', 8192),
    ((DVAE,), 'auto_scale_lr.base_batch_size', 512),
    ((DVAE,), 'custom_hooks.1.momentum', 1 - 0.999),
    ((DVAE,), 'transforms.TwoViewResizedCrop.size', 256),
]


@pytest.mark.parametrize('path', sorted({path for _, path, _ in ROWS}))
def test_value(path):
    for names, _, expected in (row for row in ROWS if row[1] == path):
        by_name = isinstance(expected, dict) and None in expected
        for name in names:
            wanted = expected.get(name, expected[None]) if by_name else expected
            if isinstance(wanted, float):
                wanted = pytest.approx(wanted, rel=1e-12)
            assert value(name, path) == wanted, name


@pytest.mark.parametrize('name', [*PRETRAINS, *FINE_TUNES, PROBE_B, PROBE_L, *SEGMENTATIONS])
def test_pixels_are_normalized_alike_in_every_stage(name):
    whole = config(name)
    preprocessor = whole.get('data_preprocessor') or whole.model.data_preprocessor
    assert preprocessor.mean == IN1K_MEAN
    assert preprocessor.std == IN1K_STD
    assert preprocessor.get('bgr_to_rgb') or preprocessor.get('to_rgb')


def test_no_clipping_in_fine_tuning():
    assert all('clip_grad' not in config(n).optim_wrapper for n in FINE_TUNES + SEGMENTATIONS)


def test_order_of_the_pretraining_pipeline():
    """datasets.py:33-40: jitter, flip, then the crop, so that both views have all of it."""
    types = [step.type.split('.')[-1] for step in config(B300).train_dataloader.dataset.pipeline]
    expected = 'LoadImageFromFile RGBJitter RandomFlip TwoViewResizedCrop BlockwiseMask'
    assert types == [*expected.split(), 'PackMIMInputs']


# ---- learning rates, by stepping what the config builds ----


def rates(name, lrs, steps, epoch_length=None):
    """The lr of every step of groups with these base rates: (steps, groups)."""
    groups = [dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in lrs]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedulers = []
    train_cfg = config(name).train_cfg
    for scheduler in config(name).param_scheduler:
        # MMEngine fills a missing end in the same way.
        by_epoch = scheduler.get('by_epoch', True)
        length = train_cfg.get('max_epochs' if by_epoch else 'max_iters')
        defaults = dict(optimizer=optimizer, end=length)
        if scheduler.get('convert_to_iter_based'):
            defaults['epoch_length'] = epoch_length
        schedulers.append(PARAM_SCHEDULERS.build(dict(scheduler), default_args=defaults))
    optimizer.step()
    found = []
    for _ in range(steps):
        found.append([group['lr'] for group in optimizer.param_groups])
        for scheduler in schedulers:
            scheduler.step()
    return np.array(found)


def unilm_cosine(base, final, epochs, warmup_epochs, epoch_length):
    """utils.py:383-400: linear from 0, then half a cosine; a value for each iteration."""
    warmup = np.linspace(0, base, warmup_epochs * epoch_length)
    rest = (epochs - warmup_epochs) * epoch_length
    cosine = (1 + np.cos(np.pi * np.arange(rest) / rest)) / 2
    return np.concatenate([warmup, final + (base - final) * cosine])


@pytest.mark.parametrize(
    'name, base, final, epochs, warmup_epochs',
    [
        (B300, 1.5e-3, 1e-5, 300, 10),
        (B800, 1.5e-3, 1e-5, 800, 10),
        (ABS300, 1.5e-3, 1e-5, 300, 10),
        (ABS800, 1.5e-3, 1e-5, 800, 10),
        (L300, 1.5e-3, 1e-5, 300, 10),
        (L800, 1.5e-3, 1e-5, 800, 10),
        (FT_B300, 4e-3, 1e-6, 100, 20),
        (FT_B800, 4e-3, 1e-6, 100, 20),
        (FT_ABS800, 4e-3, 1e-6, 100, 20),
        (FT_L800, 1e-3, 1e-6, 50, 5),
        (V2_B300, 1.5e-3, 1e-5, 300, 10),
        (V2_B1600, 1.5e-3, 1e-5, 1600, 10),
        (V2_L300, 1.5e-3, 1e-5, 300, 10),
        (V2_L1600, 1.5e-3, 1e-5, 1600, 10),
        (VQKD1, 2e-4, 1e-5, 100, 10),
        (VQKD3, 2e-4, 1e-5, 100, 10),
        (VQKD_DINO, 2e-4, 1e-5, 100, 10),
    ],
)
def test_rate_of_every_iteration(name, base, final, epochs, warmup_epochs):
    """In fine-tuning the schedule multiplies each layer's scale, its minimum included."""
    assert config(name).train_cfg.max_epochs == epochs
    scales = [1.0, value(name, DECAY) ** 13] if name in FINE_TUNES else [1.0]
    lr = value(name, f'{ADAMW}.lr')
    found = rates(name, [lr * scale for scale in scales], epochs * 4, epoch_length=4)
    expected = np.outer(unilm_cosine(base, final, epochs, warmup_epochs, 4), scales)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1.1e-6 * base)


def test_rate_of_the_linear_probe__changes_once_an_epoch():
    found = rates(PROBE_B, [4e-3], 50)[:, 0]
    np.testing.assert_allclose(found, 2e-3 * (1 + np.cos(np.pi * np.arange(50) / 50)), rtol=1e-9)
    assert not config(PROBE_B).param_scheduler[0].get('convert_to_iter_based')


@pytest.mark.parametrize(
    'name, iterations, warmup, steps',
    [
        (UPER_B512, 160_000, 1500, 160_000),
        (UPER_B640, 160_000, 1500, 4000),
        (PUP, 160_000, 1500, 4000),
        (UPER_L640, 320_000, 3000, 8000),
    ],
)
def test_rate_of_every_iteration__ade20k(name, iterations, warmup, steps):
    """MMCV 1's poly policy from iteration 0, times a linear warm-up from the ratio 1e-6."""
    assert config(name).train_cfg.max_iters == iterations
    lr = value(name, f'{ADAMW}.lr')
    found = rates(name, [lr], steps)[:, 0]
    step = np.arange(steps)
    warm = np.minimum(1 - (1 - step / warmup) * (1 - 1e-6), 1)
    np.testing.assert_allclose(found, lr * (1 - step / iterations) * warm, rtol=1e-6)


def test_schedules_of_the_dvae():
    """DALL-E, appendix A.2: all of them cosines."""
    (scheduler,) = config(DVAE).param_scheduler
    assert (scheduler.end, scheduler.eta_min) == (1_200_000, 1.25e-6)
    assert scheduler.get('begin', 0) == 0
    assert scheduler.type == 'CosineAnnealingLR' and not scheduler.by_epoch
    assert value(DVAE, f'{ADAMW}.lr') == 1e-4
    hook = dict(config(DVAE).custom_hooks[0])
    assert hook.pop('type') == 'AttributeScheduleHook'
    hook = AttributeScheduleHook(**hook)
    halfway = (1 + 1 / 16) / 2
    for iteration, temperature in {0: 1, 75_000: halfway, 150_000: 1 / 16, 9**7: 1 / 16}.items():
        assert hook.value('quantizer.temperature', iteration) == pytest.approx(temperature)
    for iteration, weight in {0: 0, 2_500: 3.3 / 192, 5_000: 6.6 / 192, 9**7: 6.6 / 192}.items():
        assert hook.value('quantizer.kl_weight', iteration) == pytest.approx(weight)


# ---- what the optimizer gets ----


class Model(nn.Module):
    def __init__(self, backbone, **parts):
        super().__init__()
        arch = dict(embed_dims=16, num_layers=dict(base=12, large=24)[backbone.arch], num_heads=2)
        settings = {k: v for k, v in backbone.items() if k not in ('type', 'init_cfg')}
        self.backbone = BEiTEncoder(**settings | dict(arch=arch, img_size=32))
        for name, part in parts.items():
            self.add_module(name, part)


def groups_of(name, **parts):
    cfg = config(name).optim_wrapper
    constructor = BEiTOptimWrapperConstructor(dict(cfg), cfg.get('paramwise_cfg'))
    model = Model(config(name).model.backbone, **parts)
    groups = constructor.param_groups(model, cfg.optimizer.lr, cfg.optimizer.weight_decay)
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in groups
        for parameter in group['params']
    }


@pytest.mark.parametrize('name', [FT_B300, FT_L800, UPER_B512, UPER_L640, PUP])
def test_rate_of_every_layer(name):
    """run_class_finetuning.py:467 and optim_factory.py:33-44: decay ** (L + 1 - i)."""
    lr, decay = value(name, f'{ADAMW}.lr'), value(name, DECAY)
    found = groups_of(name, head=nn.Linear(16, 2))
    layers = 24 if 'large' in name else 12
    for parameter, (own, _) in found.items():
        parts = parameter.split('.')
        depth = layers + 1
        if parts[0] == 'backbone':
            depth = int(parts[2]) + 1 if parts[1] == 'blocks' else 0
        assert own == pytest.approx(lr * decay ** (layers + 1 - depth)), parameter
    assert {'head.weight', 'backbone.cls_token', f'backbone.blocks.{layers - 1}.norm1.bias'} <= set(
        found
    )


@pytest.mark.parametrize('name', [B300, ABS300, FT_B300])
def test_what_is_decayed(name):
    """optim_factory.py:65, modeling_pretrain.py:99: not vectors, cls_token and pos_embed."""
    parts = dict(neck=MaskedPatchNeck(16), head=VisualTokenHead(8, 16))
    for parameter, (_, decay) in groups_of(name, **parts).items():
        last = parameter.split('.')[-1]
        exempt = last in ('cls_token', 'pos_embed', 'gamma_1', 'gamma_2') or 'norm' in parameter
        exempt = exempt or last.endswith('bias')
        assert decay == (0.0 if exempt else 0.05), parameter
