# SETR-PUP on the last layer of BEiT, the decoder of the paper's section 3.2: four 3 x 3 convolutions,
# each followed by a doubling of the resolution. The sizes are SETR's; its auxiliary decoders are not
# named in BEiT's paper and are left out. SyncBN needs a process group: on one GPU or a CPU set
# model.decode_head.norm_cfg.type=BN.
_base_ = './beit-base-p16_seg.py'
model = dict(
    decode_head=dict(
        type='SETRUPHead',
        in_channels=768,
        in_index=0,
        channels=256,
        num_convs=4,
        up_scale=2,
        kernel_size=3,
        dropout_ratio=0.0,
        num_classes=150,
        norm_layer=dict(type='LN', eps=1e-6, requires_grad=True),
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
