# ImageNet-1k without labels for VQ-KD: data/imagenet/{train,val}/**.JPEG, values in [0, 1].
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TwoViewResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmpretrain.ResizeEdge', scale=256, backend='pillow', interpolation='bicubic'),
    dict(type='mmpretrain.CenterCrop', crop_size=224),
    dict(type='PackMIMInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    drop_last=True,
    dataset=dict(data_root='data/imagenet/train', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=96, num_workers=4, dataset=dict(data_root='data/imagenet/val', pipeline=val_pipeline)
)
val_evaluator = test_evaluator = dict(type='TokenizerQuality')
