# A light dVAE for CIFAR-10: 4 pixels per token, a vocabulary of 512.
_base_ = './dvae_light-v256.py'
model = dict(vocab_size=512, stride=4, usage_weight=0.01)
custom_hooks = [
    dict(
        type='AttributeScheduleHook',
        schedules={
            'quantizer.temperature': dict(type='cosine', start=1.0, end=1 / 16, num_steps=9_000)
        },
    )
]
