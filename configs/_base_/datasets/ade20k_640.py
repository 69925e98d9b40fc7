# ADE20K in crops of 640 pixels.
_base_ = './ade20k_512.py'
train_pipeline = [
    *_base_.train_pipeline[:3],  # load both, check
    dict(type='RandomResize', scale=(2560, 640), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='mmseg.RandomCrop', crop_size=(640, 640), cat_max_ratio=0.75),
    *_base_.train_pipeline[5:],  # flip, distort, pack
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    *_base_.test_pipeline[2:],  # load the mask at its own size, check, pack
]
tta_pipeline = [
    test_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(4 * edge, edge), keep_ratio=True)
                for edge in (320, 480, 640, 800, 960, 1120)
            ],
            [dict(type='ResizeToMultiple', size_divisor=16)],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            *[[step] for step in test_pipeline[2:]],  # load the mask, check, pack
        ],
    ),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
