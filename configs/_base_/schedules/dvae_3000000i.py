# DALL-E's schedules (arXiv 2102.12092, appendix A.2), all of them cosines; batch 512.
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    dtype='float16',  # the first and the last convolutions stay in float32
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, fused=True
    ),
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1.25e-6, by_epoch=False, end=1_200_000)]
custom_hooks = [
    dict(
        type='AttributeScheduleHook',
        schedules={
            'quantizer.temperature': dict(type='cosine', start=1.0, end=1 / 16, num_steps=150_000),
            'quantizer.kl_weight': dict(type='cosine', start=0.0, end=6.6 / 192, num_steps=5_000),
        },
    ),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.001),
]
train_cfg = dict(type='beit_mm.ResumableIterLoop', max_iters=3_000_000, val_interval=50_000)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
