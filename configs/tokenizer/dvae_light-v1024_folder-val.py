"""A light dVAE for a folder, validated on a second one: PSNR, SSIM and codes used.

A config of four lines:
    _base_ = '/path/to/beit_mm/configs/tokenizer/dvae_light-v1024_folder-val.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))
    val_dataloader = dict(dataset=dict(data_root='/path/to/others'))
    test_dataloader = val_dataloader

Without a file of your own, with the folders data/my_images and data/my_images_val:
    python tools/train.py configs/tokenizer/dvae_light-v1024_folder-val.py
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = ['./dvae_light-v1024_folder.py', '../_base_/datasets/unlabelled_val.py']
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TwoViewResizedCrop', size=112, scale=(1.0, 1.0), ratio=(1.0, 1.0)),
    dict(type='PackMIMInputs'),
]
val_dataloader = test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(data_root='data/my_images_val', pipeline=val_pipeline),
)
val_evaluator = test_evaluator = dict(type='TokenizerQuality')
val_cfg = test_cfg = dict()
train_cfg = dict(val_interval=1_000)
