"""BEiT-S/16 on 16-bit images with four bands, with the tokens of their own dVAE.

Train configs/tokenizer/dvae_light-v1024_folder-4band.py on the same folder first, then
    python tools/train.py configs/pretrain/beit_beit-small-p16_folder-4band.py \
        --cfg-options train_dataloader.dataset.data_root=/path/to/images
docs/any_channels.md has other numbers of bands and bits.
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beit_small-p16_dvae-light.py',
    '../_base_/datasets/folder-4band_pretrain-224.py',
    '../_base_/schedules/folder_pretrain-100000i.py',
]
model = dict(
    tokenizer=dict(
        in_channels=4,
        init_cfg=dict(checkpoint='work_dirs/dvae_light-v1024_folder-4band/iter_10000.pth'),
    ),
    backbone=dict(in_channels=4),
)
default_hooks = dict(checkpoint=dict(interval=5_000), probe=dict(type='beit_mm.ProbeHook'))
