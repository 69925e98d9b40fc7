"""BEiT-S/16 on a folder, from weights that are there already: published ones, or your own.

Name the weights (of unilm, Hugging Face, timm, mmpretrain or this package) and the folder:
    _base_ = 'beit_mm::pretrain/beit_beit-small-p16_folder-continue.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))
    model = dict(backbone=dict(arch='base', init_cfg=dict(checkpoint='/path/to/weights.pth')))

The tokenizer is that of configs/tokenizer/dvae_light-v1024_folder.py, trained on the same folder
first. The learning rate is a fifth of that from scratch. Without a file of your own:
    python tools/train.py configs/pretrain/beit_beit-small-p16_folder-continue.py --cfg-options \
        model.backbone.init_cfg.checkpoint=/path/to/weights.pth
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = './beit_beit-small-p16_folder.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/beit_beit-small-p16_folder', prefix='backbone.'
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
