# ImageNet-1k without labels for VQ-KD: data/imagenet/{train,val}/**.JPEG, values in [0, 1].
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='TwoViewResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=96,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/imagenet/val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='mmpretrain.ResizeEdge',
                scale=256,
                edge='short',
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='mmpretrain.CenterCrop', crop_size=224),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_evaluator = dict(type='TokenizerQuality', vocab_size=8192)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
