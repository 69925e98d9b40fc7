# 16-bit images with four bands in two views of one crop: 224 pixels, and 112 for the tokenizer.
# tools/analysis_tools/band_statistics.py prints mean, std and token_scale of a folder.
_base_ = './folder_pretrain-224.py'
data_preprocessor = dict(mean=[32767.5], std=[16383.75], token_scale=65535.0, bgr_to_rgb=False)
train_pipeline = [
    dict(type='LoadMultiBandImage', channels=4),
    dict(type='BandJitter', brightness=0.2, contrast=0.2),
    *_base_.train_pipeline[1:],  # flip, crop, mask, pack
]
train_dataloader = dict(
    dataset=dict(
        data_root='data/my_bands',
        extensions=('.tif', '.tiff', '.png', '.npy'),
        pipeline=train_pipeline,
    )
)
