"""The same pre-training with the tokens of a random projection, which is not trained."""

_base_ = './cifar10_beit.py'
model = dict(
    tokenizer=dict(
        _delete_=True,
        type='RandomProjectionTokenizer',
        vocab_size=512,
        stride=4,
        features=dict(type='PatchPixels', patch_size=4, normalize=True),
    )
)
