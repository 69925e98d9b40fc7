"""Binary spherical quantization (arXiv 2406.07548) with 8 bits on digit scenes.

    python tools/train.py configs/tokenizer/bsq_v256_digit-scenes.py
PSNR 19.1 dB, all codes in use (docs/tokenizer_comparison.md); under a minute on two CPU cores.
"""

_base_ = '../_base_/experiments/digit-scenes_tokenizer.py'
model = dict(type='BSQTokenizer', bits=8, in_channels=3, stride=8, width=128, num_blocks=2)
default_hooks = dict(codebook_guard=dict(grace=200, action='stop'))
