# Pre-training of small encoders, on digit scenes and CIFAR-10.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    constructor='BEiTOptimWrapperConstructor',
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=240),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=240),
]
train_cfg = dict(type='beit_mm.ResumableIterLoop', max_iters=3000, val_interval=1000)
val_cfg = test_cfg = dict()
