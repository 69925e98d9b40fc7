"""k-means with 256 centers on histograms of oriented gradients, one pass over the digit scenes.

    python tools/train.py configs/tokenizer/kmeans_hog-v256_digit-scenes.py
Result: all codes in use (docs/tokenizer_comparison.md). Less than a minute on two CPU cores.
"""

_base_ = './kmeans_pixels-v256_digit-scenes.py'
model = dict(features=dict(type='PatchHOG'))
