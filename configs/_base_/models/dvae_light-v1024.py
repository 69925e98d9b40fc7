# A light dVAE for small budgets: 8 pixels per token, a vocabulary of 1024, all residual blocks on
# the token grid. `logit_scale` and `usage_weight` keep the vocabulary in use.
model = dict(
    type='DVAETokenizer',
    vocab_size=1024,
    in_channels=3,
    stride=8,
    width=256,
    num_blocks=2,
    code_dim=64,
    temperature=1.0,
    kl_weight=2e-4,
    logit_scale=3.0,
    usage_weight=0.01,
)
