"""BEiT-micro/4 on CIFAR-10 with the tokens of a random projection, which is not trained.

    python tools/train.py configs/pretrain/beit_beit-micro-p4-random-projection_cifar10.py
The tokens are those of BEST-RQ (arXiv 2202.01855). No published counterpart; results: docs/tokenizer_comparison.md.
"""

_base_ = './beit_beit-micro-p4_cifar10.py'
model = dict(
    tokenizer=dict(
        _delete_=True,
        type='RandomProjectionTokenizer',
        vocab_size=512,
        stride=4,
        features=dict(type='PatchPixels', patch_size=4, normalize=True),
    )
)
default_hooks = dict(codebook_guard=dict(grace=100))
