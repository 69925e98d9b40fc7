"""The dVAE of digit scenes with an entropy term that keeps all of its 256 tokens in use.

    python tools/train.py configs/tokenizer/dvae_light-v256-usage_digit-scenes.py
Result: PSNR 19.9 dB, all codes in use (docs/tokenizer_comparison.md). Less than a minute on two CPU cores.
"""

_base_ = './dvae_light-v256_digit-scenes.py'
model = dict(usage_weight=0.01)
