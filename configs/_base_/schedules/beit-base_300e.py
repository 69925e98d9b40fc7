# Pre-training of BEiT and BEiT v2 (unilm beit/run_beit_pretraining.py): lr 1.5e-3 at a batch of 2048.
# The warm-up starts at 0, as near as a factor can come; the cosine ends with train_cfg.max_epochs.
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    dtype='float16',
    optimizer=dict(
        type='AdamW', lr=1.5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
    constructor='BEiTOptimWrapperConstructor',
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=10, convert_to_iter_based=True),
]
train_cfg = dict(type='beit_mm.ResumableEpochLoop', max_epochs=300, val_interval=10)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=2048)
