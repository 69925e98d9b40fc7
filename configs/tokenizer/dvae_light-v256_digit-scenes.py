"""A dVAE (arXiv 2102.12092) with 256 tokens on digit scenes.

    python tools/train.py configs/tokenizer/dvae_light-v256_digit-scenes.py
Result: PSNR 19.6 dB, 65 % of the codes in use (docs/evidence.md). Less than a minute on two CPU cores.
"""

_base_ = ['../_base_/experiments/digit-scenes_tokenizer.py', '../_base_/models/dvae_light-v256.py']
