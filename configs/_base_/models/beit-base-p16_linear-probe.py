# The mean of the patch tokens of layer 9, without norm, and a linear classifier (appendix D).
# unilm's run_linear_eval.py puts the class token beside the mean and probes every layer at once.
_base_ = './beit-base-p16.py'
model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    backbone=dict(out_indices=8, out_type='featmap', frozen=True),  # layers are counted from 0
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='CrossEntropyLoss'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
)
