# The validation loader of unlabelled images; what unlabelled_train.py is for training.
val_dataloader = test_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='UnlabelledImageFolder'),
)
