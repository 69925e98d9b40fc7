"""The same pre-training without tokens: histograms of gradients, as MaskFeat."""

_base_ = './cifar10_pixels.py'
model = dict(
    tokenizer=dict(features=dict(_delete_=True, type='PatchHOG', patch_size=4, cells=2)),
)
