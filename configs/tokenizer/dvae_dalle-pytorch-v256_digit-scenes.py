"""The dVAE of lucidrains/DALLE-pytorch and its training, written from their description.

    python tools/train.py configs/tokenizer/dvae_dalle-pytorch-v256_digit-scenes.py
A baseline: vocabulary, stride, steps and batch are those of dvae_light-v256_digit-scenes.py.
Result: PSNR 17.9 dB, 21 % of the codes in use (docs/tokenizer_comparison.md).
About a minute on two CPU cores.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_dalle-pytorch.py',
    '../_base_/datasets/digit-scenes_tokenizer.py',
    '../_base_/schedules/dvae_dalle-pytorch.py',
]
train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
