# A light dVAE for CIFAR: 4 pixels per token, a vocabulary of 512.
model = dict(
    type='DVAETokenizer',
    vocab_size=512,
    in_channels=3,
    stride=4,
    width=128,
    num_blocks=2,
    code_dim=64,
    temperature=1.0,
    kl_weight=2e-4,
    logit_scale=3.0,
    usage_weight=0.01,
)
