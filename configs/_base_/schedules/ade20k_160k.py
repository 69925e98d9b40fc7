# 160k iterations at a batch of 16 (unilm beit/semantic_segmentation). As in MMCV 1, the linear decay
# starts at iteration 0 and the warm-up of 1500 iterations multiplies it. A scheduler of MMEngine
# reaches its last value one iteration before its end, hence the 1 more.
optim_wrapper = dict(
    type='beit_mm.AutocastOptimWrapper',
    dtype='float16',
    optimizer=dict(
        type='AdamW', lr=7e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
    constructor='beit_mm.BEiTOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=1501),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, end=160_001),
]
train_cfg = dict(type='beit_mm.ResumableIterLoop', max_iters=160_000, val_interval=16_000)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
