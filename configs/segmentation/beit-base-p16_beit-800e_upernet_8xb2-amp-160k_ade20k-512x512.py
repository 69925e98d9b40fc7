"""UPerNet on BEiT-B/16 after self-supervised pre-training alone, ADE20K, crops of 512 pixels.

    bash tools/dist_train.sh configs/segmentation/beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-512x512.py 8
Published: 45.70 % mIoU after 300 epochs of pre-training (table 5). Not run here.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-base-p16_upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/ade20k_160k.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-base-p16_8xb256-amp-coslr-800e_in1k/epoch_800.pth',
            prefix='backbone.',
        )
    )
)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=16_000, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False)
