"""BEiT-L/16 on ImageNet-1k, 800 epochs: LayerScale 1e-5 and gradients clipped at norm 1.

    bash tools/dist_train.sh configs/pretrain/beit_beit-large-p16_16xb128-amp-coslr-800e_in1k.py 16
Published: 85.2 % top-1 after 800 epochs and fine-tuning (table 1). Not run here.
"""

_base_ = './beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
model = dict(backbone=dict(arch='large', layer_scale_init=1e-5))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
train_cfg = dict(max_epochs=800)
