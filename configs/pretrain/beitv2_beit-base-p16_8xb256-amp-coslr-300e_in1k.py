"""BEiT v2-B/16 on ImageNet-1k, 300 epochs (arXiv 2208.06366; unilm beit2/PRETRAINING.md).

Train configs/tokenizer/vqkd_clip-base-p16-dec3_8xb64-amp-coslr-100e_in1k.py first, then
    bash tools/dist_train.sh configs/pretrain/beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k.py 8
Published: 85.0 % top-1 after fine-tuning (unilm beit2). 16 V100 (32 GB). Not run here.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beitv2_base-p16.py',
    '../_base_/datasets/in1k_pretrain-224x2.py',
    '../_base_/schedules/beit-base_300e.py',
]
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.98)))
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(by_epoch=True, interval=1),
    probe=dict(
        type='beit_mm.ProbeHook', dataset=dict(type='LabelledImageFolder'), num_images=1_000
    ),
)
log_processor = dict(by_epoch=True, window_size=10)
