# Images and masks of class numbers; the short side has 224 to 448 pixels, crops 224. A fifth
# validates.
_base_ = './folder-64_seg.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='beit_mm.LoadSegmentationMask'),
    dict(type='beit_mm.CheckSegmentation'),
    dict(type='RandomResize', scale=(9999, 224), ratio_range=(1.0, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(224, 224), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(9999, 224), keep_ratio=True),
    dict(type='beit_mm.LoadSegmentationMask'),  # at its own size, at which it is compared
    dict(type='beit_mm.CheckSegmentation'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=16, num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(num_workers=4, dataset=dict(pipeline=test_pipeline))
