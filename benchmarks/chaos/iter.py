"""iteration loop, 1 process: pre-training with 2 workers, accumulation of 2, EMA, dropout"""

_base_ = '../../configs/pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py'
model = dict(backbone=dict(drop_path_rate=0.1, drop_rate=0.1))
train_dataloader = dict(batch_size=8, num_workers=2)
val_dataloader = dict(batch_size=50)
test_dataloader = val_dataloader
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=40, end=620),
]
train_cfg = dict(max_iters=620, val_interval=50)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=7))
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
