"""BEiT on digit scenes with the tokens of a random projection (BEST-RQ): nothing is trained before.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train:          python tools/train.py configs/pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = './beit_beit-micro-p8_digit-scenes.py'

model = dict(
    tokenizer=dict(
        _delete_=True,
        type='RandomProjectionTokenizer',
        vocab_size=256,
        stride=8,
        features=dict(type='PatchPixels', patch_size=8, normalize=True),
    ),
)

default_hooks = dict(codebook_guard=dict(grace=100))
