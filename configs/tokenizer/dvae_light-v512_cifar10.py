"""A light dVAE (arXiv 2102.12092) with 512 tokens of 4 pixels on CIFAR-10.

    python tools/train.py configs/tokenizer/dvae_light-v512_cifar10.py
No published counterpart; measured for 1,000 steps on a CPU: docs/tokenizer_comparison.md.
"""

_base_ = ['../_base_/experiments/cifar10_tokenizer.py', '../_base_/models/dvae_light-v512-s4.py']
