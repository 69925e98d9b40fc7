"""A light dVAE with 256 tokens for a folder of small images, or of crops of 64 pixels.

A config of three lines:
    _base_ = 'beit_mm::tokenizer/dvae_light-v256_folder-64.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))
    val_dataloader = test_dataloader = train_dataloader

Without a file of your own, with the folder data/my_images:
    python tools/train.py configs/tokenizer/dvae_light-v256_folder-64.py
A few minutes on two CPU cores. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_light-v256.py',
    '../_base_/datasets/folder-64_tokenizer.py',
    '../_base_/schedules/digit-scenes_tokenizer-400i.py',
]
param_scheduler = [
    dict(type='LinearLR', start_factor=0.03, by_epoch=False, end=60),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=60),
]
custom_hooks = [
    dict(
        type='AttributeScheduleHook',
        schedules={
            'quantizer.temperature': dict(type='cosine', start=1.0, end=1 / 16, num_steps=900)
        },
    )
]
train_cfg = dict(max_iters=1000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500, max_keep_ckpts=2))
