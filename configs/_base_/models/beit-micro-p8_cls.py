# BEiT-micro/8 for the ten classes of digit scenes: no drop path and no mixing.
_base_ = './beit-micro-p8.py'
model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    neck=dict(type='beit_mm.PatchMeanNeck', dims=128),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),  # as BEiT: 0.02 * 0.001
    ),
)
