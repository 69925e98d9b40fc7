"""BEiT-micro/8 on crops of CamVid, 64 pixels of 128 to 200."""

_base_ = '../../../configs/pretrain/beit_beit-micro-p8_folder-64.py'
train_dataloader = dict(
    num_workers=0,
    dataset=dict(
        part=None,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='TwoViewResizedCrop', size=64, token_size=64, scale=(0.1, 0.4)),
            dict(type='BlockwiseMask', grid=8, num_masked=25, min_block=4),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_dataloader = test_dataloader = dict(batch_size=32, dataset=dict(part=None))
train_cfg = dict(val_interval=3_000)
default_hooks = dict(checkpoint=dict(interval=500, max_keep_ckpts=1))
