"""Classification by mmpretrain's VisionTransformer, as MAE has pre-trained it."""

_base_ = './cifar10_cls.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch=dict(embed_dims=128, num_layers=4, num_heads=4, feedforward_channels=512),
        img_size=32,
        patch_size=4,
        out_type='raw',
        final_norm=False,
        init_cfg=dict(type='Pretrained', checkpoint='', prefix='backbone.'),
    )
)
