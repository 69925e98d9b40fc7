# Pre-training on folders of images (batch 64) and on CIFAR-10 (batch 256).
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    constructor='BEiTOptimWrapperConstructor',
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=5_000),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=5_000),
]
train_cfg = dict(type='beit_mm.ResumableIterLoop', max_iters=100_000)
auto_scale_lr = dict(base_batch_size=64)
