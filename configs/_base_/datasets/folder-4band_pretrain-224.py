# 16-bit images with four bands in two views of one crop: 224 pixels, and 112 for the tokenizer.
# tools/analysis_tools/band_statistics.py prints mean, std and token_scale of a folder.
data_preprocessor = dict(
    type='TwoViewDataPreprocessor',
    mean=[32767.5],
    std=[16383.75],
    token_scale=65535.0,
)

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabelledImageFolder',
        data_root='data/my_bands',
        extensions=('.tif', '.tiff', '.png', '.npy'),
        pipeline=[
            dict(type='LoadMultiBandImage', channels=4),
            dict(type='BandJitter', brightness=0.2, contrast=0.2),
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
