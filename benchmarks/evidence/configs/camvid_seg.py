"""Segmentation of CamVid with one convolution behind BEiT-micro/8, in windows of 64 pixels."""

_base_ = '../../../configs/segmentation/beit-micro-p8_beit_setr-naive_folder-64.py'
custom_imports = dict(imports=['benchmarks.evidence.class_iou'])
model = dict(decode_head=dict(num_classes=11))
classes = (
    *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car'),
    *('pedestrian', 'bicyclist'),
)
images = dict(part=None, classes=classes)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    dataset=dict(
        **images,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='beit_mm.LoadSegmentationMask'),
            dict(type='beit_mm.CheckSegmentation'),
            dict(type='RandomResize', scale=(9999, 128), ratio_range=(1.0, 1.5), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = test_dataloader = dict(
    dataset=dict(
        **images,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(9999, 128), keep_ratio=True),
            dict(type='beit_mm.LoadSegmentationMask'),
            dict(type='beit_mm.CheckSegmentation'),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_evaluator = test_evaluator = [
    dict(type='IoUMetric', iou_metrics=['mIoU']),
    dict(type='beit_mm.ClassIoU'),
]
optim_wrapper = dict(clip_grad=dict(max_norm=3.0))
train_cfg = dict(val_interval=500)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(
        _delete_=True,
        type='beit_mm.AtomicCheckpointHook',
        by_epoch=False,
        interval=250,
        max_keep_ckpts=1,
    ),
)
