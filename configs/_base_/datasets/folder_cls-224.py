# Labelled images in crops of 224 pixels: class folders, or a table (labels=...); a fifth validates.
_base_ = './folder-64_cls.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='beit_mm.TwoViewResizedCrop', size=224, scale=(0.4, 1.0)),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(num_workers=4, dataset=dict(pipeline=test_pipeline))
