"""VQ-KD of BEiT v2 (arXiv 2208.06366) in small: 256 codes that say what an earlier BEiT sees.

Make the data:  python tools/dataset_converters/digit_scenes.py data/digit_scenes
Train before:   python tools/train.py configs/pretrain/beit_beit-micro-p8_digit-scenes.py
Train:          python tools/train.py configs/tokenizer/vqkd_beit-v256_digit-scenes.py
Made for two CPU cores; results: docs/tokenizer_comparison.md.
"""

_base_ = [
    '../_base_/runtime/pretrain_runtime.py',
    '../_base_/datasets/digit-scenes_tokenizer.py',
    '../_base_/schedules/digit-scenes_tokenizer-400i.py',
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
    teacher=dict(
        type='BackboneFeatures',
        dims=128,
        mean=[0.5, 0.5, 0.5],
        std=[0.25, 0.25, 0.25],
        backbone=dict(
            type='BEiTEncoder',
            arch='micro',
            img_size=32,
            patch_size=8,
            rel_pos='shared',
            layer_scale_init=0.1,
            out_type='featmap',
            init_cfg=dict(
                type='Pretrained',
                checkpoint='work_dirs/beit_beit-micro-p8_digit-scenes/iter_3000.pth',
                prefix='backbone.',
            ),
        ),
    ),
)

custom_hooks = []  # no temperature to anneal
default_hooks = dict(
    codebook_guard=dict(grace=200, action='stop'),
    logger=dict(interval=50),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=200, max_keep_ckpts=2
    ),
)
log_processor = dict(by_epoch=False, window_size=50)
