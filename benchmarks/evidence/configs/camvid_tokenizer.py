"""The tokenizer of CamVid: a light dVAE with 256 tokens of 8 pixels, on crops of 64."""

_base_ = '../../../configs/tokenizer/dvae_light-v256_folder-64.py'
model = dict(usage_weight=0.01)
crop = dict(type='TwoViewResizedCrop', size=64, scale=(0.1, 0.4))
train_dataloader = dict(
    num_workers=0,
    dataset=dict(
        part=None,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            crop,
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_dataloader = test_dataloader = dict(batch_size=32, dataset=dict(part=None))
train_cfg = dict(val_interval=1_000)
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=1))
