"""BEiT-B/16 fine-tuned on ImageNet-1k after 300 epochs of pre-training (arXiv 2106.08254).

    bash tools/dist_train.sh configs/classification/beit-base-p16_beit-300e_8xb128-amp-coslr-100e_in1k.py 8
Published: 83.22 % top-1 (table 5). Not run here.
"""

_base_ = './beit-base-p16_beit-800e_8xb128-amp-coslr-100e_in1k.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k/epoch_300.pth'
        )
    )
)
