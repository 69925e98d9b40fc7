"""Segmentation with BEiT-S/16 and one convolution, on images and masks of your own.

A config of a few lines; the mask of a/b.jpg is a/b.png below mask_root:
    _base_ = 'beit_mm::segmentation/beit-small-p16_beit_setr-naive_folder.py'
    folder = dict(data_root='/path/to/images', mask_root='/path/to/masks', classes=['road', 'tree'])
    train_dataloader = val_dataloader = test_dataloader = dict(dataset=folder)
    model = dict(
        decode_head=dict(num_classes=2), backbone=dict(init_cfg=dict(checkpoint='WORK_DIR'))
    )

WORK_DIR is that of the pre-training. A fifth of the images validates. Without a file of your own:
    python tools/train.py configs/segmentation/beit-small-p16_beit_setr-naive_folder.py
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-small-p16_setr-naive.py',
    '../_base_/datasets/folder_seg-224.py',
    '../_base_/schedules/folder-64_finetune-500i.py',
]
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9))
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=250, max_keep_ckpts=1, save_best='mIoU')
)
log_processor = dict(window_size=50)
