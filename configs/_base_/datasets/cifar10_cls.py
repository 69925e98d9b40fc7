# CIFAR-10 as image files in class folders, data/cifar10/{train,test}/CLASS/*.
data_preprocessor = dict(
    num_classes=10, mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=True
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmpretrain.RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=32, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=32),  # neither changes the images of this data set
    dict(type='PackInputs'),
]
# For tools/test.py --tta: the mean of the scores of each image and of its mirror image.
tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [test_pipeline[-1]],
        ],
    ),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='CustomDataset', data_root='data/cifar10', data_prefix='train', pipeline=train_pipeline
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=200,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset', data_root='data/cifar10', data_prefix='test', pipeline=test_pipeline
    ),
)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
