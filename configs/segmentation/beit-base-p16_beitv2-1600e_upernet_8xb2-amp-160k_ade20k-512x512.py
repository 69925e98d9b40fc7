"""UPerNet on BEiT v2-B/16 after self-supervised pre-training alone, ADE20K, crops of 512 pixels.

    bash tools/dist_train.sh configs/segmentation/beit-base-p16_beitv2-1600e_upernet_8xb2-amp-160k_ade20k-512x512.py 8
Published: 53.1 % mIoU (arXiv 2208.06366; unilm beit2); after fine-tuning on ImageNet-21k 53.5 %, with
layer_decay_rate=0.85. Not run here.
"""

_base_ = './beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-512x512.py'
model = dict(
    backbone=dict(
        drop_path_rate=0.15,
        init_cfg=dict(
            checkpoint='work_dirs/beitv2_beit-base-p16_8xb256-amp-coslr-1600e_in1k/epoch_1600.pth'
        ),
    )
)
optim_wrapper = dict(optimizer=dict(lr=5e-5), paramwise_cfg=dict(layer_decay_rate=0.75))
