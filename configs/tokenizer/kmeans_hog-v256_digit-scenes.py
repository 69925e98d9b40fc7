"""k-means with 256 centers on histograms of oriented gradients, one pass over the digit scenes.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/kmeans_hog-v256_digit-scenes.py
Compare with others: python benchmarks/compare_tokenizers.py
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/digit-scenes_tokenizer.py',
    '../_base_/schedules/digit-scenes_tokenizer-400i.py',
]

model = dict(
    type='KMeansTokenizer',
    vocab_size=256,
    stride=8,
    features=dict(type='PatchHOG', patch_size=8),
)
optim_wrapper = dict(optimizer=dict(lr=0.0))  # k-means has no gradient
param_scheduler = []
train_cfg = dict(max_iters=125, val_interval=125)  # one pass

custom_hooks = []  # no temperature to anneal
default_hooks = dict(
    codebook_guard=dict(grace=50),
    update_guard=dict(action='off'),  # the rate is 0
    logger=dict(interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=125, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
