# BEiT-Ti/4 on 32-pixel images: 8 x 8 patches of 4 pixels, and a token of the light dVAE for each.
_base_ = './beit_micro-p8_digit-scenes.py'
model = dict(
    tokenizer=dict(
        vocab_size=512,
        stride=4,
        init_cfg=dict(checkpoint='work_dirs/dvae_light-v512_cifar10/iter_10000.pth'),
    ),
    backbone=dict(arch='tiny', patch_size=4, abs_pos=False, init_std=0.02),
)
