# BEiT v2-B/16: the encoder of BEiT, VQ-KD tokens, and two more blocks that train the class token.
_base_ = './beit_base-p16.py'
model = dict(
    tokenizer=dict(
        _delete_=True,
        type='VQKDTokenizer',
        vocab_size=8192,
        code_dim=32,
        arch='base',
        img_size=224,
        patch_size=16,
        init_cfg=dict(
            type='Pretrained',
            # The original's vqkd_encoder_base_decoder_3x768x12_clip.pth can stand here as it is.
            checkpoint='work_dirs/vqkd_clip-base-p16-dec3_8xb64-amp-coslr-100e_in1k/epoch_100.pth',
        ),
    ),
    backbone=dict(drop_path_rate=0.0, out_indices=(8, 11)),  # layer 9 and the last one
    neck=dict(
        type='PatchAggregationNeck',
        num_layers=2,
        early_layer=9,
        layer_scale_init=0.1,
        drop_path_rate=0.0,
    ),
)
