"""BEiT-micro/4 on CIFAR-10 with the tokens of its own dVAE, 64 for each image; of a size for CPUs.

Train configs/tokenizer/dvae_light-v512_cifar10.py first, then
    python tools/train.py configs/pretrain/beit_beit-micro-p4_cifar10.py
No published counterpart. With 4,000 steps and several tokenizers: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beit_tiny-p4.py',
    '../_base_/datasets/cifar10_pretrain.py',
    '../_base_/schedules/digit-scenes_pretrain-3000i.py',
]
model = dict(backbone=dict(arch='micro', abs_pos='sincos', init_std=0.16))
train_dataloader = dict(batch_size=64, num_workers=1)
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=800),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=800),
]
train_cfg = dict(max_iters=10_000, val_interval=2_000)
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(max_keep_ckpts=2),
    probe=dict(type='beit_mm.ProbeHook', dataset=dict(type='LabelledImageFolder')),
)
log_processor = dict(window_size=100)
