"""SETR-PUP on the paper's own BEiT-B/16 (absolute positions), ADE20K, crops of 512 pixels.

    bash tools/dist_train.sh configs/segmentation/beit-base-p16-abs_beit-800e_setr-pup_8xb2-amp-160k_ade20k-512x512.py 8
Published: 45.58 % mIoU (table 4), 47.7 % after intermediate fine-tuning on ImageNet-1k (table 3).
Not run here.
"""

_base_ = './beit-base-p16_beit-800e_setr-pup_8xb2-amp-160k_ade20k-512x512.py'
model = dict(
    backbone=dict(
        abs_pos=True,
        rel_pos=None,
        layer_scale_init=None,
        init_cfg=dict(
            checkpoint='work_dirs/beit_beit-base-p16-abs_8xb256-amp-coslr-800e_in1k/epoch_800.pth'
        ),
    )
)
