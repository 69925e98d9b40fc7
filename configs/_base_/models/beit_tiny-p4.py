# BEiT-Ti/4 on 32-pixel images: 8 x 8 patches of 4 pixels, and a token of the light dVAE for each.
model = dict(
    type='MaskedImageModel',
    tokenizer=dict(
        type='DVAETokenizer',
        vocab_size=512,
        in_channels=3,
        stride=4,
        width=128,
        num_blocks=2,
        code_dim=64,
        logit_scale=3.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/dvae_light-v512_cifar10/iter_10000.pth'
        ),
    ),
    backbone=dict(
        type='BEiTEncoder',
        arch='tiny',
        img_size=32,
        patch_size=4,
        rel_pos='shared',
        layer_scale_init=0.1,
    ),
    neck=dict(type='MaskedPatchNeck', dims=192),
    head=dict(type='VisualTokenHead', vocab_size=512, dims=192),
)
