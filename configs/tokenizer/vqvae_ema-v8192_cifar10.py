"""VQ-VAE with 8192 unit vectors, revival of those that die, on CIFAR-10: BEiT's size of vocabulary.

Data:     data/cifar10/{train,test}/CLASS/* as image files
Train:    python tools/train.py configs/tokenizer/vqvae_ema-v8192_cifar10.py
50,000 images of 64 tokens are 390 tokens for each code, in the training set once.
Steps and batch are those of dvae_light-v512_cifar10.py; measured for 600 and 1,000 steps: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/cifar10_tokenizer.py',
    '../_base_/schedules/folder_tokenizer-10000i.py',
]

model = dict(
    type='VQVAETokenizer',
    vocab_size=8192,
    code_dim=16,
    in_channels=3,
    stride=4,
    width=128,
    num_blocks=2,
    commitment_weight=0.25,
    decay=0.99,
    # A window of 50 steps has 409,600 tokens, 50 for each code.
    reset_dead_codes=dict(share=0.05, min_tokens=10, interval=100),
)
val_evaluator = dict(vocab_size=8192)
test_evaluator = val_evaluator

custom_hooks = []  # no temperature to anneal
train_cfg = dict(val_interval=2_000)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    codebook_guard=dict(grace=2_000, action='stop'),
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=1_000, max_keep_ckpts=3
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
