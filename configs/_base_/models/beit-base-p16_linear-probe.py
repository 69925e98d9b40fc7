# The mean of the patch tokens of layer 9, without norm, and a linear classifier (appendix D).
# unilm's run_linear_eval.py puts the class token beside the mean and probes every layer at once.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch='base',
        img_size=224,
        patch_size=16,
        rel_pos='per_layer',
        layer_scale_init=0.1,
        out_indices=8,  # counted from 0
        out_type='featmap',
        frozen=True,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='CrossEntropyLoss'),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
)
