"""DALLE-pytorch's recipe as its train_vae.py has it: 256 channels, two residual blocks.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/tokenizer/dvae_dalle-pytorch-w256-v256_digit-scenes.py
dvae_dalle-pytorch-v256_digit-scenes.py has the class' defaults, 64 channels and one block, which are nearer
to the size of the other tokenizers here. Results: docs/tokenizer_comparison.md.
"""

_base_ = './dvae_dalle-pytorch-v256_digit-scenes.py'

model = dict(width=256, num_blocks=2)
