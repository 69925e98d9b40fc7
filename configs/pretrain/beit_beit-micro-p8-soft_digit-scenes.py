"""BEiT on digit scenes with soft targets: a part of the tokenizer's posterior beside its token.

Train configs/tokenizer/dvae_light-v256_digit-scenes.py first, then
    python tools/train.py configs/pretrain/beit_beit-micro-p8-soft_digit-scenes.py
The targets follow mc-BEiT (arXiv 2203.15371).
Made for two CPU cores. No result has been measured yet.
"""

_base_ = './beit_beit-micro-p8_digit-scenes.py'
model = dict(head=dict(type='SoftTokenHead', target='posterior', smoothing=0.3))
default_hooks = dict(codebook_guard=dict(grace=100))
