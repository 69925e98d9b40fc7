"""The recipe of DALLE-pytorch with the sizes of its train_vae.py: 256 channels, two blocks.

    python tools/train.py configs/tokenizer/dvae_dalle-pytorch-w256-v256_digit-scenes.py
dvae_dalle-pytorch-v256_digit-scenes.py has the defaults of the class, 64 channels and one block.
Those are nearer to the size of the other tokenizers here.
Result: PSNR 19.1 dB, 19 % of the codes in use (docs/tokenizer_comparison.md).
"""

_base_ = './dvae_dalle-pytorch-v256_digit-scenes.py'
model = dict(width=256, num_blocks=2)
