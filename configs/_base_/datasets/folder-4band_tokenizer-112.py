# A folder of 16-bit images with four bands (.tif, .png, .npy), crops of 112 pixels, values in [0, 1].
data_preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[65535.0])

train_dataloader = dict(
    batch_size=32,
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
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='TwoViewResizedCrop', size=112, scale=(0.2, 1.0)),
            dict(type='PackMIMInputs'),
        ],
    ),
)
