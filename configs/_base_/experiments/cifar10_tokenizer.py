# All but the model of a tokenizer on CIFAR-10.
_base_ = [
    '../runtime/pretrain_runtime.py',
    '../datasets/cifar10_tokenizer.py',
    '../schedules/folder_tokenizer-10000i.py',
]

train_cfg = dict(val_interval=2_000)
val_cfg = test_cfg = dict()
