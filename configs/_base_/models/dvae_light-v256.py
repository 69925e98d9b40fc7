# A small dVAE for 32-pixel images: 8 pixels per token, a vocabulary of 256, all residual blocks on
# the token grid. `logit_scale` standardizes each code's logits, which keeps the vocabulary in use.
model = dict(
    type='DVAETokenizer',
    vocab_size=256,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
    code_dim=64,
    temperature=1.0,
    kl_weight=2e-4,
    logit_scale=3.0,
)
custom_hooks = [
    dict(
        type='AttributeScheduleHook',
        # DALL-E anneals to 1/16 by a cosine as well, over a twentieth of its updates.
        schedules={
            'quantizer.temperature': dict(type='cosine', start=1.0, end=1 / 16, num_steps=360)
        },
    )
]
