"""BEiT v2-L/16 fine-tuned on ImageNet-1k after 1600 epochs of pre-training (arXiv 2208.06366).

    bash tools/dist_train.sh configs/classification/beit-large-p16_beitv2-1600e_8xb128-amp-coslr-50e_in1k.py 8
Published: 87.3 % top-1 (unilm beit2/get_started_for_image_classification.md). Not run here.
"""

_base_ = './beit-large-p16_beit-800e_8xb128-amp-coslr-50e_in1k.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/beitv2_beit-large-p16_16xb128-amp-coslr-1600e_in1k/epoch_1600.pth'
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(layer_decay_rate=0.8))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 2e-4, begin=5, convert_to_iter_based=True),
]
