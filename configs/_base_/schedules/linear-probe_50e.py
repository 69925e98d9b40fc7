# unilm beit/run_linear_eval.py with the 50 epochs of the paper's appendix D; batch 1024, and a rate
# that changes once an epoch. There the classifier runs in float32 and its bias is decayed as well.
optim_wrapper = dict(
    type='beit_mm.AutocastOptimWrapper',
    dtype='float16',
    optimizer=dict(
        type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, fused=True
    ),
    constructor='beit_mm.BEiTOptimWrapperConstructor',
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0)]
train_cfg = dict(type='beit_mm.ResumableEpochLoop', max_epochs=50, val_interval=1)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
