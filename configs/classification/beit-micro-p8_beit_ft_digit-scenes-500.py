"""Fine-tuning of the pre-trained encoder for classification with 500 labels.

Train configs/pretrain/beit_beit-micro-p8_digit-scenes.py first, then
    python tools/train.py configs/classification/beit-micro-p8_beit_ft_digit-scenes-500.py
Results and hardware are in docs/evidence.md. About half a minute on two CPU cores.
"""

_base_ = [
    '../_base_/runtime/mmpretrain_runtime.py',
    '../_base_/models/beit-micro-p8_cls.py',
    '../_base_/datasets/digit-scenes-500_cls.py',
    '../_base_/schedules/digit-scenes_finetune-300i.py',
]
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=150, max_keep_ckpts=2)
)
log_processor = dict(by_epoch=False, window_size=50)
