optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.03, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=30, end=400),
]
custom_hooks = [
    dict(
        type='AttributeScheduleHook',
        schedules={
            # DALL-E anneals to 1/16 by a cosine as well, over a twentieth of its updates.
            'quantizer.temperature': dict(
                type='cosine', start=1.0, end=1 / 16, begin=0, num_steps=360
            ),
        },
    ),
]
train_cfg = dict(type='beit_mm.ResumableIterLoop', max_iters=400, val_interval=400)
val_cfg = dict()
test_cfg = dict()
