# ADE20K in crops of 640 pixels.
_base_ = './ade20k_512.py'
data_preprocessor = dict(size=(640, 640))
train_pipeline = [
    *_base_.train_pipeline[:3],  # load both, check
    dict(type='RandomResize', scale=(2560, 640), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='mmseg.RandomCrop', crop_size=(640, 640), cat_max_ratio=0.75),
    *_base_.train_pipeline[5:],  # flip, distort, pack
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    *_base_.val_pipeline[2:],  # load the mask at its own size, check, pack
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=val_pipeline))
