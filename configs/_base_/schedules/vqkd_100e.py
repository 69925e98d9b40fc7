# VQ-KD (unilm beit2/run_vqkd_training.py): lr 5e-5 for each 128 images, 2e-4 at a batch of 512.
# The warm-up starts at 0, as near as a factor can come; the cosine ends with train_cfg.max_epochs.
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    dtype='float16',
    optimizer=dict(
        type='AdamW', lr=2e-4, betas=(0.9, 0.99), eps=1e-8, weight_decay=1e-4, fused=True
    ),
    constructor='BEiTOptimWrapperConstructor',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=10, convert_to_iter_based=True),
]
train_cfg = dict(type='beit_mm.ResumableEpochLoop', max_epochs=100, val_interval=1)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
