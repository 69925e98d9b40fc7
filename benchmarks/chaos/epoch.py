"""epoch loop, 1 process: classification with a worker, EMA, drop path"""

_base_ = '../../configs/classification/beit-micro-p8_scratch_ft_digit-scenes-500.py'
model = dict(backbone=dict(drop_path_rate=0.1))
train_dataloader = dict(batch_size=16)
val_dataloader = dict(batch_size=50)
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=True, begin=2, end=20),
]
train_cfg = dict(_delete_=True, type='beit_mm.ResumableEpochLoop', max_epochs=20, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=7))
log_processor = dict(by_epoch=True)
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
