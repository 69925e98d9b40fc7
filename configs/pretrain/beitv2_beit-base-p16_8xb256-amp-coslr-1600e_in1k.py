"""BEiT v2-B/16 on ImageNet-1k, 1600 epochs: with drop path, and beta2 as in BEiT.

    bash tools/dist_train.sh configs/pretrain/beitv2_beit-base-p16_8xb256-amp-coslr-1600e_in1k.py 8
Published: 85.5 % top-1 after fine-tuning (unilm beit2). 16 V100 (32 GB). Not run here.
"""

_base_ = './beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
model = dict(backbone=dict(drop_path_rate=0.1), neck=dict(drop_path_rate=0.1))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)))
train_cfg = dict(max_epochs=1600)
