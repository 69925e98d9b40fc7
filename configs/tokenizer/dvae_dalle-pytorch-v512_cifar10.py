"""The dVAE of lucidrains/DALLE-pytorch and its training, on CIFAR-10 with 512 tokens of 4 pixels.

    python tools/train.py configs/tokenizer/dvae_dalle-pytorch-v512_cifar10.py
A baseline: vocabulary, stride, steps and batch are those of dvae_light-v512_cifar10.py.
No published counterpart; measured for 1,000 steps on a CPU: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_dalle-pytorch.py',
    '../_base_/datasets/cifar10_tokenizer.py',
    '../_base_/schedules/dvae_dalle-pytorch.py',
]
model = dict(vocab_size=512, stride=4)
train_cfg = dict(max_iters=10_000, val_interval=2_000)
