# BEiT-S/16 with the tokens of the light dVAE: 224 pixels and 112 for the tokenizer, 14 x 14 both.
_base_ = './beit_micro-p8_digit-scenes.py'
model = dict(
    tokenizer=dict(
        vocab_size=1024,
        width=256,
        init_cfg=dict(checkpoint='work_dirs/dvae_light-v1024_folder/iter_10000.pth'),
    ),
    backbone=dict(
        arch='small',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        abs_pos=False,
        init_std=0.02,
    ),
)
