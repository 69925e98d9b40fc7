# 500 labelled digit scenes (50 a class); validation on other digits and other photographs.
classes = tuple('0123456789')
data_preprocessor = dict(
    num_classes=10, mean=[127.5, 127.5, 127.5], std=[63.75, 63.75, 63.75], to_rgb=True
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='beit_mm.TwoViewResizedCrop', size=32, scale=(0.6, 1.0)),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=32, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=32),  # neither changes the images of this data set
    dict(type='PackInputs'),
]
# For tools/test.py --tta: the mean of the scores of three sizes. Mirror images are no digits.
tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='ResizeEdge', scale=edge, backend='pillow', interpolation='bicubic')
                for edge in (32, 40, 48)
            ],
            [test_pipeline[-1]],
        ],
    ),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root='data/digit_scenes',
        ann_file='meta/train_500.txt',
        data_prefix='train',
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=200,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root='data/digit_scenes',
        data_prefix='val',
        metainfo=dict(classes=classes),
        pipeline=test_pipeline,
    ),
)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
