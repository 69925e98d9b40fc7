"""BEiT-Ti/4 fine-tuned on CIFAR-10.

Pre-train with configs/pretrain/beit_beit-tiny-p4_cifar10.py first, then
    python tools/train.py configs/classification/beit-tiny-p4_beit_1xb128-coslr-100e_cifar10.py
No published counterpart (table 11 has CIFAR-100 with BEiT-B at 224 pixels); not run here.
"""

_base_ = [
    '../_base_/runtime/mmpretrain_runtime.py',
    '../_base_/models/beit-tiny-p4_cls.py',
    '../_base_/datasets/cifar10_cls.py',
    '../_base_/schedules/beit-base_ft-100e.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-tiny-p4_cifar10/iter_100000.pth',
            prefix='backbone.',
        )
    )
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4), paramwise_cfg=dict(layer_decay_rate=0.75), dtype='bfloat16'
)
auto_scale_lr = dict(base_batch_size=128)
