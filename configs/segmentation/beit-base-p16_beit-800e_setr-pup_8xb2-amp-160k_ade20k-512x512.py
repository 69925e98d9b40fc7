"""SETR-PUP on BEiT-B/16, ADE20K, crops of 512 pixels (arXiv 2106.08254, tables 3, 4 and 14).

    bash tools/dist_train.sh configs/segmentation/beit-base-p16_beit-800e_setr-pup_8xb2-amp-160k_ade20k-512x512.py 8
The published numbers are those of the paper's own model: see the config of beit-base-p16-abs.
Not run here.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-base-p16_setr-pup.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/ade20k_160k.py',
]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
