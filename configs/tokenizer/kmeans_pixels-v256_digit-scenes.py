"""k-means with 256 centers on pixels, one pass over the digit scenes.

    python tools/train.py configs/tokenizer/kmeans_pixels-v256_digit-scenes.py
PSNR 20.2 dB, all codes in use (docs/tokenizer_comparison.md); under a minute on two CPU cores.
"""

_base_ = '../_base_/experiments/digit-scenes_tokenizer.py'
model = dict(
    type='KMeansTokenizer',
    vocab_size=256,
    stride=8,
    features=dict(type='PatchPixels', patch_size=8),
)
optim_wrapper = dict(optimizer=dict(lr=0.0))  # k-means has no gradient
param_scheduler = []
train_cfg = dict(max_iters=125, val_interval=125)  # one pass
default_hooks = dict(
    codebook_guard=dict(grace=50),
    update_guard=dict(action='off'),  # the rate is 0
    checkpoint=dict(interval=125),
)
