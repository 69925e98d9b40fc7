"""Fine-tuning of BEiT-micro/8 on labelled images of your own: class folders, or a table of labels.

A config of three lines; labels='labels.csv' beside data_root names a table:
    _base_ = 'beit_mm::classification/beit-micro-p8_beit_ft_folder-64.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/classes'))
    val_dataloader = test_dataloader = train_dataloader
    model = dict(head=dict(num_classes=5), backbone=dict(init_cfg=dict(checkpoint='WORK_DIR')))

WORK_DIR is that of the pre-training. A fifth of each class validates. Without a file of your own:
    python tools/train.py configs/classification/beit-micro-p8_beit_ft_folder-64.py
A minute or two on two CPU cores. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/mmpretrain_runtime.py',
    '../_base_/models/beit-micro-p8_cls.py',
    '../_base_/datasets/folder-64_cls.py',
    '../_base_/schedules/folder-64_finetune-500i.py',
]
model = dict(
    backbone=dict(img_size=64, init_cfg=dict(checkpoint='work_dirs/beit_beit-micro-p8_folder-64')),
    head=dict(num_classes=2),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]),  # docs/results.md: 400 labels
)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(by_epoch=False, interval=250, max_keep_ckpts=1, save_best='accuracy/top1'),
)
log_processor = dict(by_epoch=False, window_size=50)
