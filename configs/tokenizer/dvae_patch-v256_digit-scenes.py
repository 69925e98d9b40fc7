"""A dVAE that computes on the token grid alone, 256 tokens, on digit scenes.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/dvae_patch-v256_digit-scenes.py
Vocabulary, stride and schedule are those of dvae_light-v256_digit-scenes.py.
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_patch-v256.py',
    '../_base_/datasets/digit-scenes_tokenizer.py',
    '../_base_/schedules/digit-scenes_tokenizer-400i.py',
]

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=200, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
