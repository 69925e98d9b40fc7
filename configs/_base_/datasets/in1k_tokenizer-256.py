# ImageNet-1k without labels for a tokenizer: data/imagenet/{train,val}/**.JPEG, values in [0, 1].
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            # DALL-E (listing 1): a square of the short side, resized by areas to 288 ... 384 pixels,
            # of that a crop of 256, and a flip. In one step: squares whose side is 2/3 to 8/9 of the
            # short side, which is 1/3 to 0.59 of the area of a 4:3 photograph.
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(
                type='TwoViewResizedCrop',
                size=256,
                scale=(0.33, 0.59),
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
