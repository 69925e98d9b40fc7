"""BEiT-Ti/4 fine-tuned on CIFAR-10.

Pre-train with configs/pretrain/beit_beit-tiny-p4_cifar10.py first, then
    python tools/train.py configs/classification/beit-tiny-p4_beit_1xb128-coslr-100e_cifar10.py
"""

_base_ = [
    '../_base_/runtime/mmpretrain_runtime.py',
    '../_base_/models/beit-micro-p8_cls.py',
    '../_base_/datasets/cifar10_cls.py',
    '../_base_/schedules/beit-base_ft-100e.py',
]

model = dict(
    backbone=dict(
        arch='tiny',
        patch_size=4,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-tiny-p4_cifar10/iter_100000.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(dims=192),
    head=dict(in_channels=192),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4), paramwise_cfg=dict(layer_decay_rate=0.75), dtype='bfloat16'
)
auto_scale_lr = dict(base_batch_size=128)
