# A folder of images without labels in two views of one crop: 224 pixels, and 112 for the tokenizer.
_base_ = './unlabelled_train.py'
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='TwoViewResizedCrop',
        size=224,
        token_size=112,
        scale=(0.2, 1.0),
        interpolation='bicubic',
        token_interpolation='lanczos',
    ),
    dict(type='BlockwiseMask', grid=14, num_masked=75, min_block=16),
    dict(type='PackMIMInputs'),
]
train_dataloader = dict(
    batch_size=64, num_workers=4, dataset=dict(data_root='data/my_images', pipeline=train_pipeline)
)
