"""k-means with 256 centers on the features of an earlier BEiT, one pass over the digit scenes.

    python tools/train.py configs/pretrain/beit_beit-micro-p8_digit-scenes.py
    python tools/train.py configs/tokenizer/kmeans_beit-v256_digit-scenes.py
Results: docs/tokenizer_comparison.md. Less than a minute on two CPU cores.
"""

_base_ = ['./kmeans_pixels-v256_digit-scenes.py', '../_base_/models/features_beit-micro-p8.py']
model = dict(features=dict(_delete_=True, **_base_.beit_features), unit=True)
optim_wrapper = dict(constructor='BEiTOptimWrapperConstructor')  # leaves out what is frozen
