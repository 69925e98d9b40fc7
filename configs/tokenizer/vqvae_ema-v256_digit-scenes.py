"""VQ-VAE (arXiv 1711.00937) with 256 unit vectors that follow by moving averages, on digit scenes.

    python tools/train.py configs/tokenizer/vqvae_ema-v256_digit-scenes.py
PSNR 20.7 dB, all codes in use (docs/tokenizer_comparison.md); under a minute on two CPU cores.
"""

_base_ = '../_base_/experiments/digit-scenes_tokenizer.py'
model = dict(
    type='VQVAETokenizer',
    vocab_size=256,
    code_dim=16,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
    commitment_weight=0.25,
    decay=0.95,  # a codebook for 400 steps, not for 100 epochs
    reset_dead_codes=dict(interval=50),
)
default_hooks = dict(codebook_guard=dict(grace=200, action='stop'))
