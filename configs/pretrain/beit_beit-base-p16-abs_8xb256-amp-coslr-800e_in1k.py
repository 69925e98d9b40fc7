"""The paper's own BEiT-B/16 (section 2.2), 800 epochs: a plain ViT with learned absolute positions.

    bash tools/dist_train.sh configs/pretrain/beit_beit-base-p16-abs_8xb256-amp-coslr-800e_in1k.py 8
Published: 83.19 % top-1 after fine-tuning, 45.58 % mIoU on ADE20K (table 4). Not run here.
"""

_base_ = './beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
model = dict(backbone=dict(abs_pos=True, rel_pos=None, layer_scale_init=None))
train_cfg = dict(max_epochs=800)
