# ImageNet-1k without labels for DALL-E's tokenizer: crops of 256 pixels.
_base_ = './in1k_tokenizer-224.py'
# DALL-E (listing 1) resizes a square of the short side by areas to 288 ... 384 pixels, crops 256 of
# it and flips it. Here this is one step: squares whose side is 2/3 to 8/9 of the short side, which is
# 1/3 to 0.59 of the area of a 4:3 photograph.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='TwoViewResizedCrop',
        size=256,
        scale=(0.33, 0.59),
        ratio=(1.0, 1.0),
        interpolation='box',
    ),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmpretrain.ResizeEdge', scale=256, backend='pillow', interpolation='box'),
    dict(type='mmpretrain.CenterCrop', crop_size=256),
    dict(type='PackMIMInputs'),
]

train_dataloader = dict(batch_size=8, drop_last=False, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
