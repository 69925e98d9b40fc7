"""The same pre-training without tokens: it predicts the normalized pixels of masked patches."""

_base_ = './cifar10_beit.py'
model = dict(
    tokenizer=dict(
        _delete_=True,
        type='FeatureTarget',
        stride=4,
        features=dict(type='PatchPixels', patch_size=4, normalize=True),
    ),
    head=dict(type='FeatureRegressionHead'),
)
default_hooks = dict(codebook_guard=None)
val_evaluator = test_evaluator = dict(type='MaskedFeatureRegression')
