"""Look-up-free quantization with 13 bits on CIFAR-10: 8192 tokens, BEiT's size of vocabulary.

Data:     data/cifar10/{train,test}/CLASS/* as image files
Train:    python tools/train.py configs/tokenizer/lfq_v8192_cifar10.py
Steps and batch are those of dvae_light-v512_cifar10.py; measured for 600 steps: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/cifar10_tokenizer.py',
    '../_base_/schedules/folder_tokenizer-10000i.py',
]

model = dict(
    type='LFQTokenizer',
    bits=13,
    in_channels=3,
    stride=4,
    width=128,
    num_blocks=2,
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
