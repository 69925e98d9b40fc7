"""The same classification from random weights: same data, steps, batch and learning rate.

    python tools/train.py configs/classification/beit-micro-p8_scratch_ft_digit-scenes-500.py
Layer-wise decay makes sense only for pre-trained layers, so it is off.
Results and hardware are in docs/evidence.md. About half a minute on two CPU cores.
"""

_base_ = './beit-micro-p8_beit_ft_digit-scenes-500.py'
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
