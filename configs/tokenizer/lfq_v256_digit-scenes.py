"""Look-up-free quantization (arXiv 2310.05737) with 8 bits on digit scenes.

    python tools/train.py configs/tokenizer/lfq_v256_digit-scenes.py
PSNR 18.3 dB, all codes in use (docs/tokenizer_comparison.md); under a minute on two CPU cores.
"""

_base_ = '../_base_/experiments/digit-scenes_tokenizer.py'
model = dict(type='LFQTokenizer', bits=8, in_channels=3, stride=8, width=128, num_blocks=2)
default_hooks = dict(codebook_guard=dict(grace=200, action='stop'))
