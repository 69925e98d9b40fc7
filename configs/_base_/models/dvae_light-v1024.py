# A light dVAE for small budgets: 8 pixels per token, a vocabulary of 1024. `usage_weight` and the
# `logit_scale` of its base keep the vocabulary in use.
_base_ = './dvae_light-v256.py'
model = dict(vocab_size=1024, width=256, usage_weight=0.01)
custom_hooks = [
    dict(
        type='AttributeScheduleHook',
        schedules={
            'quantizer.temperature': dict(type='cosine', start=1.0, end=1 / 16, num_steps=9_000)
        },
    )
]
