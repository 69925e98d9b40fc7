"""SETR-PUP, the decoder of the paper, in the place of SETR-naive: it needs the encoder less.

    python tools/train.py configs/segmentation/beit-micro-p8_beit_setr-pup_digit-scenes-500.py
Results and hardware are in docs/benchmarks.md. About a minute on two CPU cores.
"""

_base_ = './beit-micro-p8_beit_setr-naive_digit-scenes-500.py'
model = dict(
    backbone=dict(final_norm=False),  # the decoder has this norm
    decode_head=dict(
        _delete_=True,
        type='SETRUPHead',
        in_channels=128,
        in_index=0,
        channels=48,
        num_convs=3,
        up_scale=2,
        kernel_size=3,
        dropout_ratio=0.0,
        num_classes=11,
        norm_layer=dict(type='LN', eps=1e-6, requires_grad=True),
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(
            type='CrossEntropyLoss', use_sigmoid=False, class_weight=[0.1, *[1.0] * 10]
        ),
    ),
)
