"""UPerNet on BEiT v2-L/16 after self-supervised pre-training alone, ADE20K, crops of 512 pixels.

    bash tools/dist_train.sh configs/segmentation/beit-large-p16_beitv2-1600e_upernet_8xb2-amp-160k_ade20k-512x512.py 8
Published: 56.7 % mIoU (arXiv 2208.06366; unilm beit2); after fine-tuning on ImageNet-21k 57.5 %, with
lr=3e-5. Not run here.
"""

_base_ = './beit-base-p16_beitv2-1600e_upernet_8xb2-amp-160k_ade20k-512x512.py'
model = dict(
    backbone=dict(
        arch='large',
        out_indices=(7, 11, 15, 23),
        layer_scale_init=1e-6,
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='work_dirs/beitv2_beit-large-p16_16xb128-amp-coslr-1600e_in1k/epoch_1600.pth'
        ),
    ),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024], channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=4e-5), paramwise_cfg=dict(layer_decay_rate=0.9))
