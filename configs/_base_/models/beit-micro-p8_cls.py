model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch='micro',
        img_size=32,
        patch_size=8,
        rel_pos='per_layer',
        layer_scale_init=0.1,
        drop_path_rate=0.0,
    ),
    neck=dict(type='beit_mm.PatchMeanNeck', dims=128),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        # BEiT draws the classifier with std 0.02 and multiplies it by 0.001.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
)
