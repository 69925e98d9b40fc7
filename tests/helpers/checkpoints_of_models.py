"""Checkpoints of every kind of model, made without a training, and images for them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT

from beit_mm.checkpoints.description import describe
from beit_mm.registry import MODELS

ARCH = dict(embed_dims=32, num_layers=4, num_heads=2)
NORMALIZED = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
ENCODER = dict(type='BEiTEncoder', arch=ARCH, img_size=32, patch_size=8, abs_pos=True)
DVAE = dict(type='DVAETokenizer', vocab_size=16, stride=8, width=8, num_blocks=1, code_dim=4)
VQKD = dict(type='VQKDTokenizer', vocab_size=16, code_dim=4, arch=ARCH, img_size=32, patch_size=8)
PROJECTION = dict(
    type='RandomProjectionTokenizer',
    vocab_size=16,
    stride=8,
    features=dict(type='PatchPixels', patch_size=8, normalize=True),
)


def folder_loader(pipeline) -> dict:
    return dict(dataset=dict(type='UnlabelledImageFolder', data_root='nowhere', pipeline=pipeline))


def tokenizer(model=DVAE, size=32, loader=None, std=255.0, bgr=True) -> Config:
    """As the shipped configs of folders: a pipeline of the training alone."""
    return Config(
        dict(
            default_scope='beit_mm',
            model=model,
            data_preprocessor=dict(
                type='TwoViewDataPreprocessor', mean=[0.0], std=[std], bgr_to_rgb=bgr
            ),
            train_dataloader=folder_loader(
                [
                    loader or dict(type='LoadImageFromFile'),
                    dict(type='RandomFlip', prob=0.5),
                    dict(type='TwoViewResizedCrop', size=size, scale=(0.2, 1.0)),
                    dict(type='PackMIMInputs'),
                ]
            ),
        )
    )


def pretraining(
    token=DVAE,
    size=32,
    backbone=None,
    neck=None,
    head='VisualTokenHead',
    loader=None,
    normalization=NORMALIZED,
    token_scale=255.0,
    bgr=True,
) -> Config:
    grid = [side // 8 for side in ((size, size) if isinstance(size, int) else size)]
    return Config(
        dict(
            default_scope='beit_mm',
            model=dict(
                type='MaskedImageModel',
                tokenizer=token,
                backbone=dict(ENCODER, img_size=size, **(backbone or {})),
                neck=neck or dict(type='MaskedPatchNeck'),
                head=dict(type=head),
            ),
            data_preprocessor=dict(
                type='TwoViewDataPreprocessor',
                token_scale=token_scale,
                bgr_to_rgb=bgr,
                **normalization,
            ),
            train_dataloader=folder_loader(
                [
                    loader or dict(type='LoadImageFromFile'),
                    dict(type='TwoViewResizedCrop', size=size, token_size=size, scale=(0.2, 1.0)),
                    dict(type='BlockwiseMask', grid=grid, num_masked=3, min_block=1),
                    dict(type='PackMIMInputs'),
                ]
            ),
        )
    )


def classifier(neck='mean', size=32, loader=None, in_channels=3, **changes) -> Config:
    necks = dict(
        mean=dict(type='beit_mm.PatchMeanNeck', dims=32), gap=dict(type='GlobalAveragePooling')
    )
    backbone = dict(ENCODER, type='beit_mm.BEiTEncoder', img_size=size, rel_pos='per_layer')
    backbone['in_channels'] = in_channels
    if neck == 'gap':
        backbone.update(out_type='featmap', out_indices=1)
    resize = [
        dict(type='ResizeEdge', scale=40, backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=size),
    ]
    if loader:
        resize = [
            dict(type='beit_mm.TwoViewResizedCrop', size=size, scale=(1.0, 1.0), ratio=(1.0, 1.0))
        ]
    config = dict(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=necks[neck],
            head=dict(
                type='LinearClsHead',
                num_classes=4,
                in_channels=32,
                loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
                init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
            ),
            train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]),
        ),
        data_preprocessor=dict(num_classes=4, to_rgb=in_channels == 3, **NORMALIZED),
        test_dataloader=dict(
            dataset=dict(
                type='CustomDataset',
                data_root='nowhere',
                metainfo=dict(classes=('ant', 'bee', 'cow', 'dog')),
                pipeline=[
                    loader or dict(type='LoadImageFromFile'),
                    *resize,
                    dict(type='PackInputs'),
                ],
            )
        ),
    )
    if in_channels != 3:
        mean, std = (127.0, 60.0) if in_channels == 1 else (30000.0, 9000.0)
        config['data_preprocessor'].update(mean=[mean] * in_channels, std=[std] * in_channels)
    return Config(config | changes)


def segmentor(mode='whole', head='FCNHead', divisor=None, resize=True, **changes) -> Config:
    norm = dict(type='SyncBN', requires_grad=True)
    backbone = dict(ENCODER, type='beit_mm.BEiTEncoder', out_type='featmap', rel_pos='per_layer')
    loss = dict(type='CrossEntropyLoss', use_sigmoid=False, class_weight=[0.1, 1.0, 1.0])
    common = dict(num_classes=3, norm_cfg=norm, align_corners=False, loss_decode=loss)
    model = dict(
        type='EncoderDecoder',
        backbone=backbone,
        decode_head=dict(type=head, in_channels=32, in_index=0, channels=16, **common),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    if head == 'UPerHead':
        backbone['out_indices'] = (0, 1, 2, 3)
        model['neck'] = dict(
            type='Feature2Pyramid', embed_dim=32, rescales=[4, 2, 1, 0.5], norm_cfg=norm
        )
        model['decode_head'].update(in_channels=[32] * 4, in_index=[0, 1, 2, 3], pool_scales=(1, 2))
        model['auxiliary_head'] = dict(
            type='FCNHead', in_channels=32, in_index=2, channels=8, **common
        )
    if mode == 'slide':
        model['test_cfg'] = dict(mode='slide', crop_size=(32, 32), stride=(21, 21))
    steps = [dict(type='Resize', scale=(96, 40), keep_ratio=True)] if resize else []
    return Config(
        dict(
            default_scope='mmseg',
            model=model,
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                bgr_to_rgb=True,
                pad_val=0,
                seg_pad_val=255,
                size=(32, 32),
                test_cfg=dict(size_divisor=divisor) if divisor else None,
                **NORMALIZED,
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='BaseSegDataset',
                    data_root='nowhere',
                    metainfo=dict(
                        classes=('ground', 'tree', 'sky'),
                        palette=[[0, 0, 0], [0, 200, 0], [0, 0, 250]],
                    ),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        *steps,
                        dict(type='beit_mm.LoadSegmentationMask'),
                        dict(type='beit_mm.CheckSegmentation', num_classes=3),
                        dict(type='PackSegInputs'),
                    ],
                )
            ),
        )
        | changes
    )


def saved(config: Config, path: Path, meta: dict | None = None) -> torch.nn.Module:
    """Write what AtomicCheckpointHook writes of a model with drawn weights, and return it."""
    config = Config(config.to_dict())
    cfg = ConfigDict(config.model)
    if 'data_preprocessor' not in cfg:
        cfg.data_preprocessor = config.data_preprocessor
    with ROOT.switch_scope_and_registry(config.default_scope) as registry:
        model = registry.build(cfg)
    draw_weights(model)
    state = model.state_dict()
    config = Config(config.to_dict())
    if meta is None and config.get('test_dataloader'):
        meta = dict(config.test_dataloader.dataset.get('metainfo', {}))
    text = describe(model, config, state, dataset_meta=meta)
    torch.save(dict(state_dict=state, meta=dict(beit_mm=text, dataset_meta=meta)), path)
    return model.eval()


def draw_weights(model: torch.nn.Module) -> None:
    """Give every weight a size that shows in the outputs."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            is_strong = any(part in name for part in ('gamma', 'qkv', 'table', 'pos_embed'))
            tensor += noise * (0.5 if is_strong or name == 'head.proj.weight' else 0.15)
        for name, tensor in model.named_buffers():
            if 'init' in name or name.endswith('counts'):  # as if it was trained
                tensor.fill_(1)
            if name.endswith('running_var'):
                tensor += torch.rand(tensor.shape, generator=generator)
            if name.endswith('running_mean'):
                tensor += torch.randn(tensor.shape, generator=generator) * 0.1


def write_images(folder: Path, sizes=((40, 48), (64, 50)), channels=3, dtype=np.uint8) -> list[str]:
    """Write images of some structure: PNG of 1 or 3 channels, else .npy; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(sizes):
        coarse = rng.random((5, 5, channels)).astype(np.float32)
        image = cv2.resize(coarse, (width, height)).reshape(height, width, channels)
        image = (image * np.iinfo(dtype).max).astype(dtype)
        suffix = 'png' if channels in (1, 3) else 'npy'
        paths.append(str(folder / f'{number}.{suffix}'))
        if suffix == 'npy':
            np.save(paths[-1], image)
        else:
            cv2.imwrite(paths[-1], image)
    return paths


__all__ = ['MODELS', 'classifier', 'pretraining', 'saved', 'tokenizer', 'write_images']
