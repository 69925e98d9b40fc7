"""BEiT v2-B/16 fine-tuned on ImageNet-1k after 1600 epochs of pre-training (arXiv 2208.06366).

    bash tools/dist_train.sh configs/classification/beit-base-p16_beitv2-1600e_8xb128-amp-coslr-100e_in1k.py 8
Published: 85.5 % top-1 (unilm beit2/get_started_for_image_classification.md). Not run here.
"""

_base_ = './beit-base-p16_beitv2-300e_8xb128-amp-coslr-100e_in1k.py'
model = dict(
    backbone=dict(
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='work_dirs/beitv2_beit-base-p16_8xb256-amp-coslr-1600e_in1k/epoch_1600.pth'
        ),
    )
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.6))
