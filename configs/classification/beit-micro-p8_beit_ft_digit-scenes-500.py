"""Fine-tuning of the pre-trained encoder for classification with 500 labels.

    python tools/train.py configs/classification/beit-micro-p8_beit_ft_digit-scenes-500.py
Results and hardware: see the README's table.
"""

_base_ = [
    '../_base_/runtime/mmpretrain_runtime.py',
    '../_base_/models/beit-micro-p8_cls.py',
    '../_base_/datasets/digit-scenes-500_cls.py',
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

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=150, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
