# The training loader of unlabelled images. A data set adds batch size, workers, folder and pipeline.
train_dataloader = dict(
    persistent_workers=True,
    sampler=dict(type='beit_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='UnlabelledImageFolder'),
)
