# 500 digit scenes with a mask each: background, and the strokes of digit d as class d + 1.
metainfo = dict(
    classes=('background', *'0123456789'),
    palette=[
        [0, 0, 0],
        [230, 25, 75],
        [60, 180, 75],
        [255, 225, 25],
        [0, 130, 200],
        [245, 130, 48],
        [145, 30, 180],
        [70, 240, 240],
        [240, 50, 230],
        [210, 245, 60],
        [250, 190, 212],
    ],
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='beit_mm.LoadSegmentationMask'),
    dict(type='beit_mm.CheckSegmentation', num_classes=11),
    dict(
        type='RandomResize',
        scale=(32, 32),
        ratio_range=(1.0, 1.3),
        keep_ratio=True,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomCrop', crop_size=(32, 32)),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='beit_mm.LoadSegmentationMask'),
    dict(type='beit_mm.CheckSegmentation', num_classes=11),
    dict(type='PackSegInputs'),
]
# For tools/test.py --tta: the mean of three sizes. Mirror images are no digits.
tta_model = dict(type='mmseg.SegTTAModel')
tta_pipeline = [
    test_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(edge, edge), keep_ratio=True) for edge in (32, 40, 48)],
            *[[step] for step in test_pipeline[1:]],
        ],
    ),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset',
        data_root='data/digit_scenes',
        ann_file='meta/seg_500.txt',
        data_prefix=dict(img_path='train', seg_map_path='masks/train'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        data_root='data/digit_scenes',
        data_prefix=dict(img_path='val', seg_map_path='masks/val'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
