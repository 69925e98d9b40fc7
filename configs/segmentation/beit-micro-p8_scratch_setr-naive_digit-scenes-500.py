"""The same segmentation from random weights: same data, steps, batch and learning rate.

    python tools/train.py configs/segmentation/beit-micro-p8_scratch_setr-naive_digit-scenes-500.py
Results and hardware are in docs/evidence.md. About a minute on two CPU cores.
"""

_base_ = './beit-micro-p8_beit_setr-naive_digit-scenes-500.py'
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
