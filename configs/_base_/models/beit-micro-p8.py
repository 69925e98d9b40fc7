# The encoder pre-trained on digit scenes that classification and segmentation begin with.
model = dict(
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch='micro',
        img_size=32,
        patch_size=8,
        rel_pos='per_layer',
        layer_scale_init=0.1,
        abs_pos='sincos',  # both for a narrow encoder: docs/results.md
        init_std=0.16,
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-micro-p8_digit-scenes/iter_3000.pth',
            prefix='backbone.',
        ),
    )
)
