"""BEiT-B/16 on ImageNet-1k, 800 epochs.

    bash tools/dist_train.sh configs/pretrain/beit_beit-base-p16_8xb256-amp-coslr-800e_in1k.py 8
Published: 83.19 % top-1 after fine-tuning (table 4, with absolute positions). Not run here.
"""

_base_ = './beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=10,
        end=800,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=800)
