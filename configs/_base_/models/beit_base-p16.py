# BEiT-B/16 as released: shared relative position bias and LayerScale 0.1; 91,965,776 parameters.
model = dict(
    _scope_='beit_mm',
    type='MaskedImageModel',
    tokenizer=dict(
        type='DALLETokenizer',
        vocab_size=8192,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/'
            'dalle_encoder.pth',
        ),
    ),
    backbone=dict(
        type='BEiTEncoder',
        arch='base',
        img_size=224,
        patch_size=16,
        rel_pos='shared',
        layer_scale_init=0.1,
        drop_path_rate=0.1,
    ),
    neck=dict(type='MaskedPatchNeck'),
    head=dict(type='VisualTokenHead'),
)
