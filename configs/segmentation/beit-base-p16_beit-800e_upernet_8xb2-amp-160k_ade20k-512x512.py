"""UPerNet on BEiT-B/16 after self-supervised pre-training alone, ADE20K, crops of 512 pixels.

    bash tools/dist_train.sh configs/segmentation/beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-512x512.py 8
Published: 45.70 % mIoU after 300 epochs of pre-training (arXiv 2106.08254, table 5). Not run here.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-base-p16_upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/ade20k_160k.py',
]
