# Fine-tuning on digit scenes: as many steps for a pre-trained backbone as for one from scratch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='beit_mm.BEiTOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=30),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=30),
]
train_cfg = dict(type='beit_mm.ResumableIterLoop', max_iters=300, val_interval=300)
val_cfg = test_cfg = dict()
