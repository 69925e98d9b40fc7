"""SETR-naive on the pre-trained encoder, 500 masks: background and the strokes of ten digits.

Train configs/pretrain/beit_beit-micro-p8_digit-scenes.py first, then
    python tools/train.py configs/segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py
Results and hardware are in docs/evidence.md. About a minute on two CPU cores.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-micro-p8_setr-naive.py',
    '../_base_/datasets/digit-scenes-500_seg.py',
    '../_base_/schedules/digit-scenes_finetune-300i.py',
]
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9))
default_hooks = dict(checkpoint=dict(interval=150))
log_processor = dict(window_size=50)
