# A dVAE for 32-pixel images that computes on the token grid alone: 8 pixels per token, a vocabulary
# of 256. `logit_scale` and `usage_weight` keep the vocabulary in use.
model = dict(
    type='PatchDVAETokenizer',
    vocab_size=256,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
    code_dim=64,
    temperature=1.0,
    kl_weight=2e-4,
    logit_scale=3.0,
    usage_weight=0.01,
)
