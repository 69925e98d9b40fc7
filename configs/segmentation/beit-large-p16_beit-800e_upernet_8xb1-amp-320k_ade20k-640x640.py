"""UPerNet on BEiT-L/16, ADE20K, crops of 640 pixels; batch 16 by accumulation of two steps.

    bash tools/dist_train.sh configs/segmentation/beit-large-p16_beit-800e_upernet_8xb1-amp-320k_ade20k-640x640.py 8
Published: 56.7 % mIoU with an encoder pre-trained and fine-tuned on ImageNet-22k (unilm). For it, set
model.backbone.init_cfg.checkpoint to such an encoder. Not run here.
"""

_base_ = './beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-640x640.py'
model = dict(
    backbone=dict(
        arch='large',
        out_indices=(7, 11, 15, 23),
        layer_scale_init=1e-6,
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='work_dirs/beit_beit-large-p16_16xb128-amp-coslr-800e_in1k/epoch_800.pth'
        ),
    ),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024], channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(
    optimizer=dict(lr=2e-5), paramwise_cfg=dict(layer_decay_rate=0.95), accumulative_counts=2
)
# In iterations, of which two make one step of the optimizer.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=3001),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, end=320_001),
]
train_cfg = dict(max_iters=320_000)
