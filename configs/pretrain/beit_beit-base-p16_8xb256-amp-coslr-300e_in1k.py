"""BEiT-B/16 on ImageNet-1k, 300 epochs (arXiv 2106.08254; unilm beit/).

    bash tools/dist_train.sh configs/pretrain/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py 8
Published: final loss 6.2994 and masked-token accuracy 4.96 % (the authors' log); 83.22 % top-1 after
fine-tuning (table 5). 16 V100 (32 GB), 500k steps in 5 days (section 2.5). Not run here.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/models/beit_base-p16.py',
    '../_base_/datasets/in1k_pretrain-224.py',
    '../_base_/schedules/beit-base_300e.py',
]
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(by_epoch=True, interval=1),
    probe=dict(
        type='beit_mm.ProbeHook', dataset=dict(type='LabelledImageFolder'), num_images=1_000
    ),
)
log_processor = dict(by_epoch=True, window_size=10)
