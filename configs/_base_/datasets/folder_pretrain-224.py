# A folder of images without labels in two views of one crop: 224 pixels, and 112 for the tokenizer.
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/my_images',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(
                type='TwoViewResizedCrop',
                size=224,
                token_size=112,
                scale=(0.2, 1.0),
                interpolation='bicubic',
                token_interpolation='lanczos',
            ),
            dict(type='BlockwiseMask', grid=14, num_masked=75, min_block=16),
            dict(type='PackMIMInputs'),
        ],
    ),
)
