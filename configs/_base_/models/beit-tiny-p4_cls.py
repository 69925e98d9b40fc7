# BEiT-Ti/4 for the ten classes of CIFAR-10, with BEiT's own fine-tuning loss and mixing.
_base_ = './beit-base-p16_cls.py'
model = dict(
    backbone=dict(arch='tiny', img_size=32, patch_size=4),
    neck=dict(dims=192),
    head=dict(num_classes=10, in_channels=192),
)
