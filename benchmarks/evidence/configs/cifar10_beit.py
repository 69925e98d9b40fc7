"""BEiT-micro/4 on CIFAR-10. Each bench sets the length, the seed and the tokenizer."""

_base_ = '../../../configs/pretrain/beit_beit-micro-p4_cifar10.py'
train_dataloader = dict(num_workers=0)
val_dataloader = test_dataloader = dict(num_workers=0)
train_cfg = dict(max_iters=10_000, val_interval=10_000)
default_hooks = dict(checkpoint=dict(interval=2_500, max_keep_ckpts=1))
