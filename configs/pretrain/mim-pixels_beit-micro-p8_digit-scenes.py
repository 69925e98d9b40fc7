"""No tokens, for comparison: the normalized pixels of masked patches, on digit scenes.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/pretrain/mim-pixels_beit-micro-p8_digit-scenes.py
Made for two CPU cores; no result has been measured yet.
"""

_base_ = './beit_beit-micro-p8_digit-scenes.py'

model = dict(
    tokenizer=dict(
        _delete_=True,
        type='FeatureTarget',
        stride=8,
        features=dict(type='PatchPixels', patch_size=8, normalize=True),
    ),
    head=dict(_delete_=True, type='FeatureRegressionHead', target_dims=192, dims=128),
)
val_evaluator = dict(_delete_=True, type='MaskedFeatureRegression')
test_evaluator = val_evaluator
