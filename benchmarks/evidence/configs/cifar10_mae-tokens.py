"""MAE's encoder, decoder and masks, with the tokens of BEiT in the place of pixels.

It shows what of MAE's figures comes from its target, and what from its encoder.
"""

_base_ = './cifar10_beit.py'
custom_imports = dict(imports=['benchmarks.evidence.visible_patches'])
model = dict(
    backbone=dict(
        _delete_=True,
        _scope_='mmpretrain',
        type='beit_mm.VisiblePatches',
        arch=dict(embed_dims=128, num_layers=4, num_heads=4, feedforward_channels=512),
        img_size=32,
        patch_size=4,
    ),
    neck=dict(
        _delete_=True,
        _scope_='mmpretrain',
        type='beit_mm.MAEDecoderNeck',
        num_patches=64,
        patch_size=4,
        embed_dim=128,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=4,
    ),
    head=dict(dims=64),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.train_pipeline[:3],
            dict(type='RandomMask', grid=8, num_masked=48),
            *_base_.train_pipeline[4:],
        ],
    ),
)
val_dataloader = test_dataloader = None
val_cfg = test_cfg = None
val_evaluator = test_evaluator = None
default_hooks = dict(probe=None)  # it reads encoders that see all patches
