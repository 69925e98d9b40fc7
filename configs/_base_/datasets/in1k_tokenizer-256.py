# ImageNet-1k without labels for a tokenizer: data/imagenet/{train,val}/**.JPEG, values in [0, 1].
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            # DALL-E: a large square near the centre, averaged over areas, and no mirror images.
            dict(
                type='TwoViewResizedCrop',
                size=256,
                scale=(0.5, 1.0),
                ratio=(1.0, 1.0),
                interpolation='box',
            ),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
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
                interpolation='box',
            ),
            dict(type='mmpretrain.CenterCrop', crop_size=256),
            dict(type='PackMIMInputs'),
        ],
    ),
)
val_evaluator = dict(type='TokenizerQuality', vocab_size=8192)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
