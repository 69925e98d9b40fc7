"""A light dVAE for a folder of your own images: a config of three lines does it.

    _base_ = '/path/to/beit_mm/configs/tokenizer/dvae_light-v1024_folder.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))

Without a file of your own:
    python tools/train.py configs/tokenizer/dvae_light-v1024_folder.py \
        --cfg-options train_dataloader.dataset.data_root=/path/to/images
Watch codes_used and perplexity in the log: a perplexity of a few codes is a collapsed tokenizer.
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_light-v1024.py',
    '../_base_/datasets/folder_tokenizer-112.py',
    '../_base_/schedules/folder_tokenizer-10000i.py',
]
# Where configs/pretrain/beit_beit-small-p16_folder.py looks for the tokenizer, whatever the name of
# your own config. For a second data set choose another work_dir, and name it there in
# model.tokenizer.init_cfg.checkpoint.
work_dir = 'work_dirs/dvae_light-v1024_folder'
