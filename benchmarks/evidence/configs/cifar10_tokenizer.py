"""The tokenizer of all tables on CIFAR-10: a light dVAE with 512 tokens of 4 pixels."""

_base_ = '../../../configs/tokenizer/dvae_light-v512_cifar10.py'
train_dataloader = dict(batch_size=64, num_workers=0)
val_dataloader = test_dataloader = dict(num_workers=0)
train_cfg = dict(max_iters=10_000, val_interval=10_000)
default_hooks = dict(checkpoint=dict(interval=2_500, max_keep_ckpts=1))
