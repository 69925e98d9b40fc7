# The training of a dVAE in lucidrains/DALLE-pytorch (train_vae.py): Adam without weight decay, warm-up
# or clipping, a rate and a temperature that fall every 100 steps. The leaf sets the number of steps.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [dict(type='StepLR', step_size=100, gamma=0.98, by_epoch=False)]
custom_hooks = [
    dict(
        type='AttributeScheduleHook',
        # The factors compound: 0.5 after 11,800 steps.
        schedules={
            'quantizer.temperature': dict(
                type='compound', start=1.0, end=0.5, rate=1e-6, step_size=100
            )
        },
    )
]
train_cfg = dict(type='beit_mm.ResumableIterLoop')
val_cfg = test_cfg = dict()
