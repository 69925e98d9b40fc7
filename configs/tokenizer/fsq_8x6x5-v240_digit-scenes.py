"""Finite scalar quantization (arXiv 2309.15505) on digit scenes: 8 x 6 x 5 = 240 tokens.

    python tools/train.py configs/tokenizer/fsq_8x6x5-v240_digit-scenes.py
PSNR 20.7 dB, 98 % of codes in use (docs/tokenizer_comparison.md); under a minute on two CPU cores.
"""

_base_ = '../_base_/experiments/digit-scenes_tokenizer.py'
model = dict(
    type='FSQTokenizer',
    levels=(8, 6, 5),
    scale=1.0,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
)
default_hooks = dict(codebook_guard=dict(grace=200, action='stop'))
