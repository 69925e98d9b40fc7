# BEiT-S/16, pre-trained on a folder, with one convolution as its decoder, for crops of 224 pixels.
_base_ = './beit-base-p16_seg.py'
model = dict(
    data_preprocessor=dict(size=(224, 224)),
    backbone=dict(
        arch='small',
        img_size=224,
        final_norm=True,
        init_cfg=dict(checkpoint='work_dirs/beit_beit-small-p16_folder'),
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=384,
        in_index=0,
        channels=384,
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=2,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False),
    ),
    test_cfg=dict(crop_size=(224, 224), stride=(149, 149)),
)
