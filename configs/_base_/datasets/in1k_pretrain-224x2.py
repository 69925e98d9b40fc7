# ImageNet-1k without labels for BEiT v2: 224 pixels for the encoder and for the tokenizer, crops of
# at least a fifth of the image, and exactly 75 masked patches.
_base_ = './in1k_pretrain-224.py'
train_pipeline = [
    *_base_.train_pipeline[:3],  # load, jitter, flip
    dict(
        type='TwoViewResizedCrop',
        size=224,
        token_size=224,
        scale=(0.2, 1.0),
        interpolation='bicubic',
        token_interpolation='bicubic',
    ),
    dict(type='BlockwiseMask', grid=14, num_masked=75, min_block=16, mode='exactly'),
    dict(type='PackMIMInputs'),
]
val_pipeline = [
    *_base_.val_pipeline[:3],  # load, resize, crop
    dict(
        type='beit_mm.TwoViewResizedCrop',
        size=224,
        token_size=224,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
    ),
    dict(type='beit_mm.BlockwiseMask', grid=14, num_masked=75, min_block=16, mode='exactly'),
    dict(type='beit_mm.PackMIMInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=val_pipeline))
