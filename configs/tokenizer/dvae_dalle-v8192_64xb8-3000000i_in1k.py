"""DALL-E's dVAE trained on ImageNet-1k (arXiv 2102.12092 appendix A; BEiT appendix C).

    bash tools/dist_train.sh configs/tokenizer/dvae_dalle-v8192_64xb8-3000000i_in1k.py 64
Published (BEiT table 8, trained on ImageNet-1k alone): MAE 0.0880, and 82.70 % top-1 of the BEiT-B
that learned its tokens. With DALL-E's own these are 0.0856 and 82.86 %. 64 V100 (16 GB) in DALL-E.
Not run here. --auto-scale-lr fits the learning rate to another number of processes.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/dvae_dalle.py',
    '../_base_/datasets/in1k_tokenizer-256.py',
    '../_base_/schedules/dvae_3000000i.py',
]
default_hooks = dict(logger=dict(interval=100), checkpoint=dict(interval=10_000))
log_processor = dict(window_size=10)
