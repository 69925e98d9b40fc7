# BEiT's fine-tuning on ImageNet-1k (base): lr 4e-3 at a batch of 1024, layer decay 0.65.
optim_wrapper = dict(
    type='beit_mm.AutocastOptimWrapper',
    dtype='float16',
    optimizer=dict(
        type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
    constructor='beit_mm.BEiTOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
# The minimum is a ratio, so that each layer's rate ends at the same part of its own maximum. It
# stands for a rate of 1e-6: with another lr, replace the list.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 4e-3, begin=20, convert_to_iter_based=True),
]
train_cfg = dict(type='beit_mm.ResumableEpochLoop', max_epochs=100, val_interval=1)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
