# SETR-PUP, the decoder of the paper's section 3.2: 4 x 4 features, doubled three times.
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch='micro',
        img_size=32,
        patch_size=8,
        out_type='featmap',
        rel_pos='per_layer',
        layer_scale_init=0.1,
        drop_path_rate=0.0,
    ),
    decode_head=dict(
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
        # Five of six pixels are background; with equal weights their gradient hides the digits'.
        loss_decode=dict(
            type='CrossEntropyLoss',
            use_sigmoid=False,
            class_weight=[0.1, *[1.0] * 10],
        ),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
