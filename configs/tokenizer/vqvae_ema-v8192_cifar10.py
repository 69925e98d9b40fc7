"""VQ-VAE (arXiv 1711.00937) with dead-code reset on CIFAR-10: 8192 tokens, as many as in BEiT.

    python tools/train.py configs/tokenizer/vqvae_ema-v8192_cifar10.py
Result after 1,000 steps: PSNR 25.0 dB, all codes in use (docs/tokenizer_comparison.md).
Steps and batch are those of dvae_light-v512_cifar10.py.
One pass over 50,000 images of 64 tokens has 390 tokens for each code.
"""

_base_ = '../_base_/experiments/cifar10_tokenizer.py'
model = dict(
    type='VQVAETokenizer',
    vocab_size=8192,
    code_dim=16,
    in_channels=3,
    stride=4,
    width=128,
    num_blocks=2,
    commitment_weight=0.25,
    decay=0.99,
    # The guard's window of 50 steps has 409,600 tokens, 50 for each code.
    reset_dead_codes=dict(share=0.05, min_tokens=10, interval=100),
)
default_hooks = dict(codebook_guard=dict(grace=2_000, action='stop'))
