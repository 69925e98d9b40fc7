"""For comparison, no tokens: the normalized pixels of masked patches, on digit scenes.

    python tools/train.py configs/pretrain/mim-pixels_beit-micro-p8_digit-scenes.py
Made for two CPU cores. No result has been measured yet.
"""

_base_ = './beit_beit-micro-p8_digit-scenes.py'
model = dict(
    tokenizer=dict(
        _delete_=True,
        type='FeatureTarget',
        stride=8,
        features=dict(type='PatchPixels', patch_size=8, normalize=True),
    ),
    head=dict(type='FeatureRegressionHead'),
)
val_evaluator = test_evaluator = dict(type='MaskedFeatureRegression')
