# Tokenizers on digit scenes.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.03, by_epoch=False, end=30),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=30),
]
train_cfg = dict(type='beit_mm.ResumableIterLoop', max_iters=400, val_interval=400)
val_cfg = test_cfg = dict()
