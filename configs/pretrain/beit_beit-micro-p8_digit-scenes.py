"""BEiT (arXiv 2106.08254) on unlabelled digit scenes, with the tokens of the light dVAE.

Train configs/tokenizer/dvae_light-v256_digit-scenes.py first, then
    python tools/train.py configs/pretrain/beit_beit-micro-p8_digit-scenes.py
Results and hardware are in docs/evidence.md. About four minutes on two CPU cores.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beit_micro-p8_digit-scenes.py',
    '../_base_/datasets/digit-scenes_pretrain.py',
    '../_base_/schedules/digit-scenes_pretrain-3000i.py',
]
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(interval=500, max_keep_ckpts=2),
    probe=dict(type='beit_mm.ProbeHook', dataset=dict(type='LabelledImageFolder')),
)
log_processor = dict(window_size=100)
