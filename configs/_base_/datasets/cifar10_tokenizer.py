# CIFAR-10 for tokenizers: data/cifar10/{train,test}/CLASS/*, values in [0, 1]; no class is read.
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TwoViewResizedCrop', size=32, scale=(0.5, 1.0)),
    dict(type='PackMIMInputs'),
]
val_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackMIMInputs')]

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    dataset=dict(data_root='data/cifar10/train', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=200,
    num_workers=1,
    dataset=dict(data_root='data/cifar10/test', pipeline=val_pipeline),
)
val_evaluator = test_evaluator = dict(type='TokenizerQuality')
