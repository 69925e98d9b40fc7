# A folder of images without labels in crops of 64 pixels, values in [0, 1]; a tenth validates.
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TwoViewResizedCrop', size=64, scale=(0.2, 1.0)),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TwoViewResizedCrop', size=64, scale=(1.0, 1.0), ratio=(1.0, 1.0)),
    dict(type='PackMIMInputs'),
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
val_evaluator = test_evaluator = dict(type='TokenizerQuality')
