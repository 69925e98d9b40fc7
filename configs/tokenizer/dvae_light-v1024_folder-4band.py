"""A light dVAE for 16-bit images with four bands, for example red, green, blue and near infrared.

    python tools/train.py configs/tokenizer/dvae_light-v1024_folder-4band.py \
        --cfg-options train_dataloader.dataset.data_root=/path/to/images
docs/any_channels.md has other numbers of bands and bits.
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_light-v1024.py',
    '../_base_/datasets/folder-4band_tokenizer-112.py',
    '../_base_/schedules/folder_tokenizer-10000i.py',
]
# Where configs/pretrain/beit_beit-small-p16_folder-4band.py looks for the tokenizer, whatever the
# name of your own config.
work_dir = 'work_dirs/dvae_light-v1024_folder-4band'
model = dict(in_channels=4)
