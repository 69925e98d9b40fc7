# BEiT-Ti/4 for the classes of 32-pixel images, with BEiT's own fine-tuning loss and mixing.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch='tiny',
        img_size=32,
        patch_size=4,
        rel_pos='per_layer',
        layer_scale_init=0.1,
        drop_path_rate=0.1,
    ),
    neck=dict(type='beit_mm.PatchMeanNeck', dims=192),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=192,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
