"""mmpretrain's MAE (arXiv 2111.06377) with an encoder of the same width and depth, 75 % masked.

Its encoder sees the patches that are left, has sine and cosine positions and no LayerScale. The
decoder has two blocks of 64 channels.
"""

_base_ = './cifar10_simmim.py'
model = dict(
    _delete_=True,
    _scope_='mmpretrain',
    type='MAE',
    backbone=dict(
        type='MAEViT',
        arch=dict(embed_dims=128, num_layers=4, num_heads=4, feedforward_channels=512),
        img_size=32,
        patch_size=4,
        mask_ratio=0.75,
    ),
    neck=dict(
        type='MAEPretrainDecoder',
        num_patches=64,
        patch_size=4,
        embed_dim=128,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=4,
    ),
    head=dict(
        type='MAEPretrainHead',
        norm_pix=True,
        patch_size=4,
        loss=dict(type='PixelReconstructionLoss', criterion='L2'),
    ),
)
default_hooks = dict(probe=None)  # it reads encoders that see all patches
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='beit_mm.TwoViewResizedCrop', size=32, scale=(0.5, 1.0)),
            dict(type='PackInputs'),
        ],
    ),
)
