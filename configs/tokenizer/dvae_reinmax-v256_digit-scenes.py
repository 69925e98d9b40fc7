"""A dVAE with ReinMax gradients (arXiv 2304.08612), dead-code reset and averaged weights.

    python tools/train.py configs/tokenizer/dvae_reinmax-v256_digit-scenes.py
PSNR 18.3 dB, 62 % of codes in use (docs/tokenizer_comparison.md); under a minute on two CPU cores.
"""

_base_ = '../_base_/experiments/digit-scenes_tokenizer.py'
model = dict(
    type='DVAETokenizer',
    vocab_size=256,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
    code_dim=64,
    relaxation='reinmax',  # its samples are one-hot from the start: no temperature to anneal
    temperature=1.0,
    recon_loss=dict(type='SmoothL1ReconLoss', beta=0.1),
    logit_scale=3.0,
    reset_dead_codes=dict(interval=100),
)
custom_hooks = [
    # DALL-E averages with 0.999 over 3 million updates; these are 400.
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.02, update_buffers=True)
]
default_hooks = dict(codebook_guard=dict(grace=200, action='stop'))
