# BEiT-S/16 with the tokens of the light dVAE: 224 pixels and 112 for the tokenizer, 14 x 14 both.
model = dict(
    type='MaskedImageModel',
    tokenizer=dict(
        type='DVAETokenizer',
        vocab_size=1024,
        in_channels=3,
        stride=8,
        width=256,
        num_blocks=2,
        code_dim=64,
        logit_scale=3.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/dvae_light-v1024_folder/iter_10000.pth'
        ),
    ),
    backbone=dict(
        type='BEiTEncoder',
        arch='small',
        img_size=224,
        patch_size=16,
        rel_pos='shared',
        layer_scale_init=0.1,
        drop_path_rate=0.1,
    ),
    neck=dict(type='MaskedPatchNeck', dims=384),
    head=dict(type='VisualTokenHead', vocab_size=1024, dims=384),
)
