# Mean of the patch tokens, LayerNorm, linear classifier (unilm beit/modeling_finetune.py).
_base_ = './beit-base-p16.py'
model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    backbone=dict(drop_path_rate=0.1),
    neck=dict(type='beit_mm.PatchMeanNeck', dims=768),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        # BEiT draws the classifier with std 0.02 (truncated at 2, which is 100 sigma, and zero
        # biases) and multiplies both by 0.001.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
    # One of the two for each batch, as in timm. timm mixes with the batch in reversed order, these
    # with a permutation of it.
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
