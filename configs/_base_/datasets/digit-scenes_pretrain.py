# Unlabelled digit scenes in two views of one crop; patches and tokens are both on a 4 x 4 grid.
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[127.5, 127.5, 127.5],
    std=[63.75, 63.75, 63.75],
    bgr_to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TwoViewResizedCrop',
        size=32,
        token_size=32,
        scale=(0.5, 1.0),
        interpolation='bicubic',
        token_interpolation='bicubic',
    ),
    dict(type='BlockwiseMask', grid=4, num_masked=6, min_block=2),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='beit_mm.TwoViewResizedCrop',
        size=32,
        token_size=32,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        token_interpolation='bicubic',
    ),
    dict(type='beit_mm.BlockwiseMask', grid=4, num_masked=6, min_block=2),
    dict(type='beit_mm.PackMIMInputs'),
]

train_dataloader = dict(
    batch_size=48,
    num_workers=1,
    dataset=dict(data_root='data/digit_scenes/unlabelled', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=200,
    num_workers=0,
    dataset=dict(data_root='data/digit_scenes/val', pipeline=val_pipeline),
)
val_evaluator = test_evaluator = dict(type='MaskedTokenAccuracy')
