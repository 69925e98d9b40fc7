"""BEiT on digit scenes with soft targets: a part of the tokenizer's posterior beside its token.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train before:   python tools/train.py configs/tokenizer/dvae_light-v256_digit-scenes.py
Train:          python tools/train.py configs/pretrain/beit_beit-micro-p8-soft_digit-scenes.py
Made for two CPU cores; no result has been measured yet.
"""

_base_ = './beit_beit-micro-p8_digit-scenes.py'

model = dict(
    head=dict(type='SoftTokenHead', target='posterior', smoothing=0.3),
)

default_hooks = dict(codebook_guard=dict(grace=100))
