"""BEiT-S/16 on a folder of your own images, with the tokens of your own dVAE.

Train configs/tokenizer/dvae_light-v1024_folder.py on the same folder first; it leaves the tokenizer
where this config reads it. Then a config of two lines does it:

    _base_ = '/path/to/beit_mm/configs/pretrain/beit_beit-small-p16_folder.py'
    train_dataloader = dict(dataset=dict(data_root='/path/to/images'))

Without a file of your own:
    python tools/train.py configs/pretrain/beit_beit-small-p16_folder.py \
        --cfg-options train_dataloader.dataset.data_root=/path/to/images
Made for one GPU. Results depend on the images, and none are published.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beit_small-p16_dvae-light.py',
    '../_base_/datasets/folder_pretrain-224.py',
    '../_base_/schedules/folder_pretrain-100000i.py',
]
default_hooks = dict(checkpoint=dict(interval=5_000), probe=dict(type='beit_mm.ProbeHook'))
