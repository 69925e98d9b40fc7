# Unlabelled digit scenes in two views of the same crop: patches and tokens, both on an 4 x 4 grid.
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[127.5, 127.5, 127.5],
    std=[63.75, 63.75, 63.75],
    bgr_to_rgb=True,
)

train_dataloader = dict(
    batch_size=48,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/digit_scenes/unlabelled',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='TwoViewResizedCrop',
                size=32,
                token_size=32,
                scale=(0.5, 1.0),
                interpolation='bicubic',
                token_interpolation='bicubic',
            ),
            dict(type='BlockwiseMask', grid=4, num_masked=6, min_block=2),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/digit_scenes/val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='TwoViewResizedCrop',
                size=32,
                token_size=32,
                scale=(1.0, 1.0),
                ratio=(1.0, 1.0),
                token_interpolation='bicubic',
            ),
            dict(type='BlockwiseMask', grid=4, num_masked=6, min_block=2),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_evaluator = dict(type='MaskedTokenAccuracy')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
