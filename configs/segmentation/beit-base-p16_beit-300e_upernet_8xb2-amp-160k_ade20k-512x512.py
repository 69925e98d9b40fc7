"""UPerNet on BEiT-B/16 after 300 epochs of self-supervised pre-training alone, ADE20K, 512 pixels.

    bash tools/dist_train.sh configs/segmentation/beit-base-p16_beit-300e_upernet_8xb2-amp-160k_ade20k-512x512.py 8
Published: 45.70 % mIoU (table 5). Not run here.
"""

_base_ = './beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-512x512.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth'
        )
    )
)
