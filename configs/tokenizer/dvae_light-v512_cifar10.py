"""A light dVAE with 512 tokens of 4 pixels on CIFAR-10.

Data:   data/cifar10/{train,test}/CLASS/* as image files
Train:  python tools/train.py configs/tokenizer/dvae_light-v512_cifar10.py
No published counterpart; measured for 1,000 steps: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_light-v512-s4.py',
    '../_base_/datasets/cifar10_tokenizer.py',
    '../_base_/schedules/folder_tokenizer-10000i.py',
]

train_cfg = dict(val_interval=2_000)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=1_000, max_keep_ckpts=3
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
