"""BEiT-L/16 fine-tuned on ImageNet-1k after 800 epochs of pre-training (arXiv 2106.08254).

    bash tools/dist_train.sh configs/classification/beit-large-p16_beit-800e_8xb128-amp-coslr-50e_in1k.py 8
Published: 85.2 % top-1 (table 1). Not run here.
"""

_base_ = './beit-base-p16_beit-800e_8xb128-amp-coslr-100e_in1k.py'
model = dict(
    backbone=dict(
        arch='large',
        layer_scale_init=1e-5,
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='work_dirs/beit_beit-large-p16_16xb128-amp-coslr-800e_in1k/epoch_800.pth'
        ),
    ),
    neck=dict(dims=1024),
    head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 1e-3, begin=5, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=50)
