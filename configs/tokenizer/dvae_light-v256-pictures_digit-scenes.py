"""The light dVAE on digit scenes, with pictures of each validation (docs/tokenizer_pictures.md).

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/dvae_light-v256-pictures_digit-scenes.py
Pictures:       work_dirs/dvae_light-v256-pictures_digit-scenes/*/vis_data/vis_image/
Made for two CPU cores; no result has been measured yet.
"""

_base_ = './dvae_light-v256_digit-scenes.py'

train_cfg = dict(val_interval=100)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='TokenizerPicturesHook', num_images=8, interval=1),
]
