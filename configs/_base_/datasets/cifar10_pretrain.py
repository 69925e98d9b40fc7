# CIFAR-10 without labels, two views of one crop on an 8 x 8 grid: patches and tokens of 4 pixels.
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    bgr_to_rgb=True,
)

train_dataloader = dict(
    batch_size=256,
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
            dict(
                type='TwoViewResizedCrop',
                size=32,
                token_size=32,
                scale=(0.5, 1.0),
                token_interpolation='bicubic',
            ),
            dict(type='BlockwiseMask', grid=8, num_masked=25, min_block=4),
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
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='TwoViewResizedCrop', size=32, token_size=32, scale=(1.0, 1.0), ratio=(1, 1)),
            dict(type='BlockwiseMask', grid=8, num_masked=25, min_block=4),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_evaluator = dict(type='MaskedTokenAccuracy')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
