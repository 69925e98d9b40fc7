"""epoch loop, 2 gloo processes: pre-training with a worker, accumulation of 2, EMA"""

_base_ = '../../configs/pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py'
model = dict(backbone=dict(drop_path_rate=0.1))
train_dataloader = dict(batch_size=4)
val_dataloader = dict(batch_size=50)
test_dataloader = val_dataloader
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=40, end=250),
]
train_cfg = dict(_delete_=True, type='beit_mm.ResumableEpochLoop', max_epochs=10, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=7))
log_processor = dict(by_epoch=True)
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
