# Digit scenes without labels (tools/dataset_converters/digit_scenes.py), one view, values in [0, 1].
# No flips: a mirrored digit is no digit.
_base_ = ['./unlabelled_train.py', './unlabelled_val.py']
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TwoViewResizedCrop', size=32, scale=(0.5, 1.0)),
    dict(type='PackMIMInputs'),
]
val_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackMIMInputs')]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(data_root='data/digit_scenes/unlabelled', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=200,
    num_workers=0,
    dataset=dict(data_root='data/digit_scenes/val', pipeline=val_pipeline),
)
val_evaluator = test_evaluator = dict(type='TokenizerQuality')
