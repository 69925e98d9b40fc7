# SETR-naive: a 1 x 1 convolution, then the classes of each patch, interpolated to pixels. Almost all
# that tells the digits apart has to come from the encoder. The last 1 x 1 convolution commutes with
# the interpolation, so it runs on the patch grid: the same function as mmseg's SETRUPHead with one
# convolution and up_scale=8, at a fraction of its cost.
_base_ = './beit-micro-p8.py'
model = dict(
    _scope_='mmseg',
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.5, 127.5, 127.5],
        std=[63.75, 63.75, 63.75],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(32, 32),
        test_cfg=dict(size_divisor=8),
    ),
    backbone=dict(out_type='featmap', final_norm=True),
    decode_head=dict(
        type='FCNHead',
        in_channels=128,
        in_index=0,
        channels=128,
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        # Five of six pixels are background; with equal weights their gradient hides the digits'.
        loss_decode=dict(
            type='CrossEntropyLoss', use_sigmoid=False, class_weight=[0.1, *[1.0] * 10]
        ),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
