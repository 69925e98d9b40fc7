"""The paper's own BEiT-B/16 (absolute positions) fine-tuned on ImageNet-1k after 800 epochs.

    bash tools/dist_train.sh configs/classification/beit-base-p16-abs_beit-800e_8xb128-amp-coslr-100e_in1k.py 8
Published: 83.19 % top-1 (arXiv 2106.08254, table 4). Not run here.
"""

_base_ = './beit-base-p16-abs_beit-300e_8xb128-amp-coslr-100e_in1k.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/beit_beit-base-p16-abs_8xb256-amp-coslr-800e_in1k/epoch_800.pth'
        )
    )
)
