"""Segmentation with BEiT-micro/8 and one convolution, on images and masks of your own.

A config of a few lines; the mask of a/b.jpg is a/b.png below mask_root:
    _base_ = 'beit_mm::segmentation/beit-micro-p8_beit_setr-naive_folder-64.py'
    folder = dict(data_root='/path/to/images', mask_root='/path/to/masks', classes=['road', 'tree'])
    train_dataloader = val_dataloader = test_dataloader = dict(dataset=folder)
    model = dict(
        decode_head=dict(num_classes=2), backbone=dict(init_cfg=dict(checkpoint='WORK_DIR'))
    )

WORK_DIR is that of the pre-training. A fifth of the images validates. Without a file of your own:
    python tools/train.py configs/segmentation/beit-micro-p8_beit_setr-naive_folder-64.py
A few minutes on two CPU cores. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-micro-p8_setr-naive.py',
    '../_base_/datasets/folder-64_seg.py',
    '../_base_/schedules/folder-64_finetune-500i.py',
]
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], size=(64, 64)
    ),
    backbone=dict(img_size=64, init_cfg=dict(checkpoint='work_dirs/beit_beit-micro-p8_folder-64')),
    decode_head=dict(
        num_classes=2,
        loss_decode=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=False),
    ),
    test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(42, 42)),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9))
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=250, max_keep_ckpts=1, save_best='mIoU')
)
log_processor = dict(window_size=50)
