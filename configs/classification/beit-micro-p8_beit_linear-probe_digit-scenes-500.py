"""A linear classifier on the frozen pre-trained encoder, 500 labels.

    python tools/train.py configs/classification/beit-micro-p8_beit_linear-probe_digit-scenes-500.py
Results and hardware are in docs/evidence.md. Less than half a minute on two CPU cores.
"""

_base_ = './beit-micro-p8_beit_ft_digit-scenes-500.py'
model = dict(
    backbone=dict(frozen=True),
    head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.01)),
)
optim_wrapper = dict(
    optimizer=dict(lr=2e-2, weight_decay=1e-4), paramwise_cfg=dict(layer_decay_rate=1.0)
)
