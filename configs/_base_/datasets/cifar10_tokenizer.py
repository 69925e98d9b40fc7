# CIFAR-10 as image files in class folders, data/cifar10/{train,test}/CLASS/*; the classes are not
# read here.
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/cifar10/train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='TwoViewResizedCrop', size=32, scale=(0.5, 1.0)),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=200,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/cifar10/test',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackMIMInputs')],
    ),
)
val_evaluator = dict(type='TokenizerQuality', vocab_size=512)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
