# All but the model of a tokenizer on digit scenes.
_base_ = [
    '../runtime/pretrain_runtime.py',
    '../datasets/digit-scenes_tokenizer.py',
    '../schedules/digit-scenes_tokenizer-400i.py',
]

default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
