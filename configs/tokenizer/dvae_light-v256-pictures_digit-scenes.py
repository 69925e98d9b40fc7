"""The light dVAE on digit scenes, with pictures of each validation (docs/tokenizer_pictures.md).

    python tools/train.py configs/tokenizer/dvae_light-v256-pictures_digit-scenes.py
The pictures are in work_dirs/dvae_light-v256-pictures_digit-scenes/*/vis_data/vis_image/.
The result is that of dvae_light-v256_digit-scenes.py. Less than a minute on two CPU cores.
"""

_base_ = './dvae_light-v256_digit-scenes.py'
train_cfg = dict(val_interval=100)
custom_hooks = [*_base_.custom_hooks, dict(type='TokenizerPicturesHook', num_images=8, interval=1)]
