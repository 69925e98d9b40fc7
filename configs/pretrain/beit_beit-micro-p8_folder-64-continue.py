"""BEiT-micro/8 on a folder of small images, from weights that are there already.

Name the weights (of this package, unilm, Hugging Face, timm or mmpretrain) and the folder:
    _base_ = 'beit_mm::pretrain/beit_beit-micro-p8_folder-64-continue.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))
    model = dict(backbone=dict(init_cfg=dict(checkpoint='/path/to/weights.pth')))

The tokenizer is that of configs/tokenizer/dvae_light-v256_folder-64.py, trained on the same folder
first. The learning rate is a fifth of that from scratch. Without a file of your own:
    python tools/train.py configs/pretrain/beit_beit-micro-p8_folder-64-continue.py --cfg-options \
        model.backbone.init_cfg.checkpoint=/path/to/weights.pth
A quarter of an hour on two CPU cores. Results depend on the images, and none are published.
"""

_base_ = './beit_beit-micro-p8_folder-64.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-micro-p8_folder-64',
            prefix='backbone.',
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=4e-4))
