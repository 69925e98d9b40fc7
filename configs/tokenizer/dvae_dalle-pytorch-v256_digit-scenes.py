"""lucidrains/DALLE-pytorch's dVAE and its training, written from their description, on digit scenes.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/dvae_dalle-pytorch-v256_digit-scenes.py
A baseline: vocabulary, stride, steps and batch are those of dvae_light-v256_digit-scenes.py.
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/digit-scenes_tokenizer.py',
    '../_base_/schedules/dvae_dalle-pytorch.py',
]

model = dict(
    type='DALLEPytorchTokenizer',
    vocab_size=256,
    in_channels=3,
    stride=8,
    width=64,
    num_blocks=1,
    code_dim=512,
    temperature=1.0,
    kl_weight=0.0,
)
train_cfg = dict(max_iters=400, val_interval=400)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=200, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
