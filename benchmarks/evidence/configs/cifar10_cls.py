"""Classification of CIFAR-10 by BEiT-micro/4, with labels of a few images."""

_base_ = [
    '../../../configs/_base_/runtime/mmpretrain_runtime.py',
    '../../../configs/_base_/models/beit-micro-p8_cls.py',
    '../../../configs/_base_/datasets/cifar10_cls.py',
    '../../../configs/_base_/schedules/digit-scenes_finetune-300i.py',
]
model = dict(backbone=dict(patch_size=4))
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(
        _delete_=True,
        type='beit_mm.LabelledImageFolder',
        data_root='data/cifar10/train',
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = test_dataloader = dict(
    num_workers=0,
    dataset=dict(
        _delete_=True,
        type='beit_mm.LabelledImageFolder',
        data_root='data/cifar10/test',
        pipeline={{_base_.test_pipeline}},
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=3.0))
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(by_epoch=False, interval=100, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False, window_size=50)
