"""BEiT on digit scenes with tokens that were encoded once (docs/token_cache.md).

Train configs/tokenizer/dvae_light-v256_digit-scenes.py first, then
    python tools/analysis_tools/cache_tokens.py \\
        configs/pretrain/beit_beit-micro-p8_digit-scenes.py --out data/digit_scenes_tokens --epochs 18
    python tools/train.py configs/pretrain/beit_beit-micro-p8-cached_digit-scenes.py
The training sees each image 18 times. With fewer virtual epochs the same crops come again.
Made for two CPU cores. No result has been measured yet.
"""

_base_ = './beit_beit-micro-p8_digit-scenes.py'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CachedTokens',
        cache_dir='data/digit_scenes_tokens',
        dataset=_base_.train_dataloader.dataset,
    )
)
