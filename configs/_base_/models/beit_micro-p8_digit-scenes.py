# BEiT on 32-pixel images: 4 x 4 patches of 8 pixels, and a token of the light dVAE for each.
model = dict(
    _scope_='beit_mm',
    type='MaskedImageModel',
    tokenizer=dict(
        type='DVAETokenizer',
        vocab_size=256,
        in_channels=3,
        stride=8,
        width=128,
        num_blocks=2,
        code_dim=64,
        logit_scale=3.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/dvae_light-v256_digit-scenes/iter_400.pth'
        ),
    ),
    backbone=dict(
        type='BEiTEncoder',
        arch='micro',
        img_size=32,
        patch_size=8,
        rel_pos='shared',
        layer_scale_init=0.1,
        abs_pos='sincos',  # both for a narrow encoder: docs/results.md
        init_std=0.16,
    ),
    neck=dict(type='MaskedPatchNeck'),
    head=dict(type='VisualTokenHead'),
)
