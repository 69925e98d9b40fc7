# ImageNet-1k without labels in two views of one crop: 224 pixels for BEiT, 112 for the tokenizer.
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RGBJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='TwoViewResizedCrop',
        size=224,
        token_size=112,
        scale=(0.08, 1.0),
        interpolation='bicubic',
        token_interpolation='lanczos',
    ),
    dict(type='BlockwiseMask', grid=14, num_masked=75, min_block=16),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmpretrain.ResizeEdge', scale=256, backend='pillow', interpolation='bicubic'),
    dict(type='mmpretrain.CenterCrop', crop_size=224),
    dict(
        type='beit_mm.TwoViewResizedCrop',
        size=224,
        token_size=112,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
    ),
    dict(type='beit_mm.BlockwiseMask', grid=14, num_masked=75, min_block=16),
    dict(type='beit_mm.PackMIMInputs'),
]

train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    drop_last=True,
    dataset=dict(data_root='data/imagenet/train', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=64, num_workers=4, dataset=dict(data_root='data/imagenet/val', pipeline=val_pipeline)
)
val_evaluator = test_evaluator = dict(type='MaskedTokenAccuracy')
