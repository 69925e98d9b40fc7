# A folder of 16-bit images with four bands (.tif, .png, .npy), crops of 112 pixels, values in [0, 1].
_base_ = './folder_tokenizer-112.py'
data_preprocessor = dict(std=[65535.0], bgr_to_rgb=False)
train_pipeline = [
    dict(type='LoadMultiBandImage', channels=4),
    *_base_.train_pipeline[1:],  # flip, crop, pack
]
train_dataloader = dict(
    dataset=dict(
        data_root='data/my_bands',
        extensions=('.tif', '.tiff', '.png', '.npy'),
        pipeline=train_pipeline,
    )
)
