"""BEiT-B/16 fine-tuned on ImageNet-1k after 800 epochs of pre-training (arXiv 2106.08254).

    bash tools/dist_train.sh configs/classification/beit-base-p16_beit-800e_8xb128-amp-coslr-100e_in1k.py 8
Published: 83.19 % top-1 (table 4, with absolute positions). Not run here.
"""

_base_ = [
    '../_base_/runtime/mmpretrain_runtime.py',
    '../_base_/models/beit-base-p16_cls.py',
    '../_base_/datasets/in1k_ft-224.py',
    '../_base_/schedules/beit-base_ft-100e.py',
]
