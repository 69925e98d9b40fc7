# A folder of images without labels, however nested, in crops of 112 pixels and values in [0, 1].
_base_ = './unlabelled_train.py'
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TwoViewResizedCrop', size=112, scale=(0.2, 1.0)),
    dict(type='PackMIMInputs'),
]
train_dataloader = dict(
    batch_size=32, num_workers=4, dataset=dict(data_root='data/my_images', pipeline=train_pipeline)
)
