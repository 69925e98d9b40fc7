"""VQ-KD of BEiT v2 with CLIP ViT-B/16 as teacher and a decoder of 3 layers (arXiv 2208.06366).

    bash tools/dist_train.sh configs/tokenizer/vqkd_clip-base-p16-dec3_8xb64-amp-coslr-100e_in1k.py 8
Published: 97 % of the 8192 codes in use (unilm beit2/TOKENIZER.md). It is the tokenizer that BEiT v2's
pre-training recommends. 8 V100 (32 GB). Not run here. The teacher needs `pip install transformers`.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/vqkd_base-p16.py',
    '../_base_/datasets/in1k_tokenizer-224.py',
    '../_base_/schedules/vqkd_100e.py',
]
default_hooks = dict(logger=dict(interval=100), checkpoint=dict(by_epoch=True, interval=1))
log_processor = dict(by_epoch=True, window_size=10)
