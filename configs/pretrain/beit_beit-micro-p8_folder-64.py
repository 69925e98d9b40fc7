"""BEiT-micro/8 on a folder of small images, or of crops of 64 pixels, with its own dVAE.

Train configs/tokenizer/dvae_light-v256_folder-64.py on the same folder first. Then a config of
three lines:
    _base_ = 'beit_mm::pretrain/beit_beit-micro-p8_folder-64.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))
    val_dataloader = test_dataloader = train_dataloader

Without a file of your own, with the folder data/my_images:
    python tools/train.py configs/pretrain/beit_beit-micro-p8_folder-64.py
A quarter of an hour on two CPU cores. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beit_micro-p8_digit-scenes.py',
    '../_base_/datasets/folder-64_pretrain.py',
    '../_base_/schedules/digit-scenes_pretrain-3000i.py',
]
model = dict(
    tokenizer=dict(init_cfg=dict(checkpoint='work_dirs/dvae_light-v256_folder-64')),
    backbone=dict(img_size=64),
)
default_hooks = dict(
    checkpoint=dict(interval=500, max_keep_ckpts=2), probe=dict(type='beit_mm.ProbeHook')
)
