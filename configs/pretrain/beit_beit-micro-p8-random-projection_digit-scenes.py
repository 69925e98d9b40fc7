"""BEiT on digit scenes with the tokens of a random projection, which is not trained.

    python tools/train.py configs/pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py
The tokens are those of BEST-RQ (arXiv 2202.01855). Results: docs/tokenizer_comparison.md.
About four minutes on two CPU cores.
"""

_base_ = './beit_beit-micro-p8_digit-scenes.py'
model = dict(
    tokenizer=dict(
        _delete_=True,
        type='RandomProjectionTokenizer',
        vocab_size=256,
        stride=8,
        features=dict(type='PatchPixels', patch_size=8, normalize=True),
    )
)
default_hooks = dict(codebook_guard=dict(grace=100))
