# The pre-trained encoder that the tasks of 224 to 640 pixels begin with.
model = dict(
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch='base',
        img_size=224,
        patch_size=16,
        rel_pos='per_layer',
        layer_scale_init=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-base-p16_8xb256-amp-coslr-800e_in1k/epoch_800.pth',
            prefix='backbone.',
        ),
    )
)
