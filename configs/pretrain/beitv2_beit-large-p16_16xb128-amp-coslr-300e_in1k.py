"""BEiT v2-L/16 on ImageNet-1k, 300 epochs: patches of layer 21, LayerScale 1e-5.

    bash tools/dist_train.sh configs/pretrain/beitv2_beit-large-p16_16xb128-amp-coslr-300e_in1k.py 16
Published: 86.6 % top-1 after fine-tuning (unilm beit2). 64 V100 (32 GB). Not run here.
"""

_base_ = './beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
model = dict(
    backbone=dict(arch='large', layer_scale_init=1e-5, out_indices=(20, 23)),
    neck=dict(early_layer=21, layer_scale_init=1e-5),
)
train_dataloader = dict(batch_size=128)
