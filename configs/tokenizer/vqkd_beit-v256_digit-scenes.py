"""VQ-KD of BEiT v2 (arXiv 2208.06366) in small: 256 codes that say what an earlier BEiT sees.

    python tools/train.py configs/pretrain/beit_beit-micro-p8_digit-scenes.py
    python tools/train.py configs/tokenizer/vqkd_beit-v256_digit-scenes.py
Results: docs/tokenizer_comparison.md. Less than a minute on two CPU cores.
"""

_base_ = [
    '../_base_/experiments/digit-scenes_tokenizer.py',
    '../_base_/models/features_beit-micro-p8.py',
]
model = dict(
    type='VQKDTokenizer',
    vocab_size=256,
    code_dim=16,
    arch='micro',
    img_size=32,
    patch_size=8,
    decoder_layers=1,
    decay=0.95,  # a codebook for 400 steps, not for 100 epochs
    reset_dead_codes=dict(interval=50),
    teacher=_base_.beit_features,
)
default_hooks = dict(codebook_guard=dict(grace=200, action='stop'))
