"""BEiT-Ti/4 on CIFAR-10 with the tokens of its own dVAE.

Train configs/tokenizer/dvae_light-v512_cifar10.py first, then
    python tools/train.py configs/pretrain/beit_beit-tiny-p4_cifar10.py
No published counterpart. Not run here.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beit_tiny-p4.py',
    '../_base_/datasets/cifar10_pretrain.py',
    '../_base_/schedules/folder_pretrain-100000i.py',
]
auto_scale_lr = dict(base_batch_size=256)
train_cfg = dict(val_interval=10_000)
val_cfg = test_cfg = dict()
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(interval=5_000),
    probe=dict(type='beit_mm.ProbeHook', dataset=dict(type='LabelledImageFolder')),
)
log_processor = dict(window_size=100)
