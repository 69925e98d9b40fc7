"""SETR-naive on the pre-trained encoder, 500 masks: background and the strokes of ten digits.

    python tools/train.py configs/segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py
Results and hardware: see the README's table.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-micro-p8_setr-naive.py',
    '../_base_/datasets/digit-scenes-500_seg.py',
    '../_base_/schedules/digit-scenes_finetune-300i.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-micro-p8_digit-scenes/iter_3000.pth',
            prefix='backbone.',
        )
    )
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9))

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=150, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
