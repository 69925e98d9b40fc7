"""A dVAE with ReinMax gradients, revival of dead codes and averaged weights on digit scenes.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/dvae_reinmax-v256_digit-scenes.py
Compare with others: python benchmarks/compare_tokenizers.py
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/digit-scenes_tokenizer.py',
    '../_base_/schedules/digit-scenes_tokenizer-400i.py',
]

model = dict(
    type='DVAETokenizer',
    vocab_size=256,
    in_channels=3,
    stride=8,
    width=128,
    num_blocks=2,
    code_dim=64,
    relaxation='reinmax',  # its samples are one-hot from the start: no temperature to anneal
    temperature=1.0,
    recon_loss=dict(type='SmoothL1ReconLoss', beta=0.1),
    logit_scale=3.0,
    reset_dead_codes=dict(interval=100),
)

custom_hooks = [
    # DALL-E averages with 0.999 over 3 million updates; these are 400.
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.02, update_buffers=True),
]
default_hooks = dict(
    codebook_guard=dict(grace=200, action='stop'),
    logger=dict(interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=200, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
