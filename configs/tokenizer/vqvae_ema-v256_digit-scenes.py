"""VQ-VAE with 256 unit vectors of 16 dimensions that follow by moving averages, on digit scenes.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/vqvae_ema-v256_digit-scenes.py
Compare with others: python benchmarks/compare_tokenizers.py
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/digit-scenes_tokenizer.py',
    '../_base_/schedules/digit-scenes_tokenizer-400i.py',
]

model = dict(
    type='VQVAETokenizer',
    vocab_size=256,
    code_dim=16,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
    commitment_weight=0.25,
    decay=0.95,  # a codebook for 400 steps, not for 100 epochs
    reset_dead_codes=dict(interval=50),
)

custom_hooks = []  # no temperature to anneal
default_hooks = dict(
    codebook_guard=dict(grace=200, action='stop'),
    logger=dict(interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=200, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
