# ImageNet-1k for a linear probe: crops and mirror images, nothing more. unilm's
# run_linear_eval.py resizes bilinearly in training and bicubically in validation.
_base_ = './in1k_ft-224.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bilinear'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
