# Fine-tuning with few labels, for a pre-trained backbone as for one from scratch.
_base_ = './digit-scenes_finetune-300i.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=50),
]
train_cfg = dict(max_iters=500, val_interval=250)
