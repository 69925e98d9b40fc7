"""LFQ (arXiv 2310.05737) with 13 bits on CIFAR-10: 8192 tokens, as many as in BEiT.

    python tools/train.py configs/tokenizer/lfq_v8192_cifar10.py
Result after 600 steps: PSNR 21.1 dB, all codes in use (docs/tokenizer_comparison.md).
Steps and batch are those of dvae_light-v512_cifar10.py.
"""

_base_ = '../_base_/experiments/cifar10_tokenizer.py'
model = dict(type='LFQTokenizer', bits=13, in_channels=3, stride=4, width=128, num_blocks=2)
default_hooks = dict(codebook_guard=dict(grace=2_000, action='stop'))
