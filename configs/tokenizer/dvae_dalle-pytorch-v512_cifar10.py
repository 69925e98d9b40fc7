"""lucidrains/DALLE-pytorch's dVAE and its training, written from their description, on CIFAR-10.

Data:   data/cifar10/{train,test}/CLASS/* as image files
Train:  python tools/train.py configs/tokenizer/dvae_dalle-pytorch-v512_cifar10.py
A baseline: vocabulary, stride, steps and batch are those of dvae_light-v512_cifar10.py.
No published counterpart; measured for 1,000 steps: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/cifar10_tokenizer.py',
    '../_base_/schedules/dvae_dalle-pytorch.py',
]

model = dict(
    type='DALLEPytorchTokenizer',
    vocab_size=512,
    in_channels=3,
    stride=4,
    width=64,
    num_blocks=1,
    code_dim=512,
    temperature=1.0,
    kl_weight=0.0,
)
train_cfg = dict(max_iters=10_000, val_interval=2_000)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=1_000, max_keep_ckpts=3
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
