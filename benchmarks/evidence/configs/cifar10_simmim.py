"""mmpretrain's SimMIM (arXiv 2111.09886) around the same encoder: L1 of pixels, 60 % masked."""

_base_ = './cifar10_beit.py'
default_scope = 'mmpretrain'
data_preprocessor = dict(
    _delete_=True,
    type='SelfSupDataPreprocessor',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)
model = dict(
    _delete_=True,
    _scope_='mmpretrain',
    type='SimMIM',
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch='micro',
        img_size=32,
        patch_size=4,
        out_type='featmap',
        rel_pos='shared',
        layer_scale_init=0.1,
        abs_pos='sincos',
        init_std=0.16,
    ),
    neck=dict(type='SimMIMLinearDecoder', in_channels=128, encoder_stride=4),
    head=dict(
        type='SimMIMHead',
        patch_size=4,
        loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3),
    ),
)
train_dataloader = dict(
    dataset=dict(
        type='beit_mm.UnlabelledImageFolder',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='beit_mm.TwoViewResizedCrop', size=32, scale=(0.5, 1.0)),
            dict(type='beit_mm.RandomMask', grid=8, num_masked=38),
            dict(type='ToTensor', keys=['mask']),
            dict(type='PackInputs', algorithm_keys=['mask']),
        ],
    ),
)
optim_wrapper = dict(constructor='beit_mm.BEiTOptimWrapperConstructor')
default_hooks = dict(codebook_guard=None, probe=None)
val_dataloader = test_dataloader = None
val_cfg = test_cfg = None
val_evaluator = test_evaluator = None
