# Features of the BEiT that was pre-trained on digit scenes, for tokenizers that learn from them.
beit_features = dict(
    type='BackboneFeatures',
    dims=128,
    mean=[0.5, 0.5, 0.5],
    std=[0.25, 0.25, 0.25],
    backbone=dict(
        type='BEiTEncoder',
        arch='micro',
        img_size=32,
        patch_size=8,
        rel_pos='shared',
        layer_scale_init=0.1,
        abs_pos='sincos',
        out_type='featmap',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-micro-p8_digit-scenes/iter_3000.pth',
            prefix='backbone.',
        ),
    ),
)
