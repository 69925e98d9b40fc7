"""A light dVAE for 16-bit images with four bands, for example red, green, blue and near infrared.

    python tools/train.py configs/tokenizer/dvae_light-v1024_folder-4band.py \
        --cfg-options train_dataloader.dataset.data_root=/path/to/images
Other numbers of bands and bits: see docs/any_channels.md.
Made for one GPU; results depend on the images, none are published.
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

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=1_000, max_keep_ckpts=3
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
