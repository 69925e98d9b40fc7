# CIFAR-10 without labels, two views of one crop on an 8 x 8 grid: patches and tokens of 4 pixels.
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    bgr_to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='TwoViewResizedCrop',
        size=32,
        token_size=32,
        scale=(0.5, 1.0),
        token_interpolation='bicubic',
    ),
    dict(type='BlockwiseMask', grid=8, num_masked=25, min_block=4),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='beit_mm.TwoViewResizedCrop', size=32, token_size=32, scale=(1.0, 1.0), ratio=(1, 1)),
    dict(type='beit_mm.BlockwiseMask', grid=8, num_masked=25, min_block=4),
    dict(type='beit_mm.PackMIMInputs'),
]

train_dataloader = dict(
    batch_size=256,
    num_workers=2,
    dataset=dict(data_root='data/cifar10/train', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=200,
    num_workers=1,
    dataset=dict(data_root='data/cifar10/test', pipeline=val_pipeline),
)
val_evaluator = test_evaluator = dict(type='MaskedTokenAccuracy')
