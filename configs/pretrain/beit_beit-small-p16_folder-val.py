"""BEiT-S/16 on a folder, validated on a second one: masked tokens of images that are not trained on.

A config of four lines:
    _base_ = '/path/to/beit_mm/configs/pretrain/beit_beit-small-p16_folder-val.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))
    val_dataloader = dict(dataset=dict(data_root='/path/to/others'))
    test_dataloader = val_dataloader

Without a file of your own, with the folders data/my_images and data/my_images_val:
    python tools/train.py configs/pretrain/beit_beit-small-p16_folder-val.py
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = ['./beit_beit-small-p16_folder.py', '../_base_/datasets/unlabelled_val.py']
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='beit_mm.TwoViewResizedCrop',
        size=224,
        token_size=112,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        interpolation='bicubic',
        token_interpolation='lanczos',
    ),
    dict(type='beit_mm.BlockwiseMask', grid=14, num_masked=75, min_block=16),
    dict(type='beit_mm.PackMIMInputs'),
]
val_dataloader = test_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(data_root='data/my_images_val', pipeline=val_pipeline),
)
val_evaluator = test_evaluator = dict(type='MaskedTokenAccuracy')
val_cfg = test_cfg = dict()
train_cfg = dict(val_interval=5_000)
