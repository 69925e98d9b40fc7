# A folder of images without labels in two views of one crop of 64 pixels; a tenth validates.
# Patches and tokens are both on an 8 x 8 grid, of which 25 (40 %) are masked.
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TwoViewResizedCrop', size=64, token_size=64, scale=(0.2, 1.0)),
    dict(type='BlockwiseMask', grid=8, num_masked=25, min_block=4),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='beit_mm.TwoViewResizedCrop',
        size=64,
        token_size=64,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
    ),
    dict(type='beit_mm.BlockwiseMask', grid=8, num_masked=25, min_block=4),
    dict(type='beit_mm.PackMIMInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(data_root='data/my_images', part='train', val_share=0.1, pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(data_root='data/my_images', part='val', val_share=0.1, pipeline=val_pipeline),
)
val_evaluator = test_evaluator = dict(type='MaskedTokenAccuracy')
