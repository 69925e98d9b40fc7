# BEiT-S/16, pre-trained on a folder, for a few classes: no mixing.
_base_ = './beit-base-p16_cls.py'
model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='work_dirs/beit_beit-small-p16_folder')),
    neck=dict(dims=384),
    head=dict(num_classes=2, in_channels=384),
    train_cfg=dict(_delete_=True),
)
