# Unlabelled digit scenes, one view, values in [0, 1]. No flips: a mirrored digit is no digit.
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/digit_scenes/unlabelled',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='TwoViewResizedCrop', size=32, scale=(0.5, 1.0)),
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
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackMIMInputs')],
    ),
)
val_evaluator = dict(type='TokenizerQuality', vocab_size=256)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
