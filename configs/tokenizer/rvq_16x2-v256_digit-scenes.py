"""Residual VQ (arXiv 2203.01941) on digit scenes: two levels of 16 codes, 256 tokens.

    python tools/train.py configs/tokenizer/rvq_16x2-v256_digit-scenes.py
Result: PSNR 19.7 dB, 99 % of the codes in use (docs/tokenizer_comparison.md).
Less than a minute on two CPU cores. It needs requirements/tokenizers.txt.
"""

_base_ = '../_base_/experiments/digit-scenes_tokenizer.py'
model = dict(
    type='ResidualVQTokenizer',
    num_codes=16,
    num_levels=2,
    code_dim=16,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
    decay=0.95,  # codebooks for 400 steps
)
default_hooks = dict(codebook_guard=dict(grace=200, action='stop'))
