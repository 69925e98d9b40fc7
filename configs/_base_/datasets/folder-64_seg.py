# Images and masks of class numbers; the short side has 64 to 128 pixels, crops 64. A fifth
# validates.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='beit_mm.LoadSegmentationMask'),
    dict(type='beit_mm.CheckSegmentation'),
    dict(type='RandomResize', scale=(9999, 64), ratio_range=(1.0, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(9999, 64), keep_ratio=True),
    dict(type='beit_mm.LoadSegmentationMask'),  # at its own size, at which it is compared
    dict(type='beit_mm.CheckSegmentation'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    dataset=dict(
        type='beit_mm.SegmentationFolder',
        data_root='data/my_labelled_images',
        mask_root='data/my_masks',
        classes=['background', 'object'],
        part='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='beit_mm.SegmentationFolder',
        data_root='data/my_labelled_images',
        mask_root='data/my_masks',
        classes=['background', 'object'],
        part='val',
        pipeline=test_pipeline,
    ),
)
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
