"""k-means with 256 centers on the features of an earlier BEiT, one pass over the digit scenes.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/kmeans_beit-v256_digit-scenes.py
Train before:   python tools/train.py configs/pretrain/beit_beit-micro-p8_digit-scenes.py
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
    features=dict(
        type='BackboneFeatures',
        dims=128,
        mean=[0.5, 0.5, 0.5],
        std=[0.25, 0.25, 0.25],
        backbone=dict(
            type='BEiTEncoder',
            arch='micro',
            img_size=32,
            patch_size=8,
            rel_pos='shared',
            layer_scale_init=0.1,
            out_type='featmap',
            init_cfg=dict(
                type='Pretrained',
                checkpoint='work_dirs/beit_beit-micro-p8_digit-scenes/iter_3000.pth',
                prefix='backbone.',
            ),
        ),
    ),
    unit=True,
)
# k-means has no gradient, and what is frozen is not the optimizer's.
optim_wrapper = dict(optimizer=dict(lr=0.0), constructor='BEiTOptimWrapperConstructor')
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
