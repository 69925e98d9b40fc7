"""A linear probe of layer 14 of the frozen BEiT-L/16 (arXiv 2106.08254, appendix D).

    bash tools/dist_train.sh configs/classification/beit-large-p16_beit-800e-linear-probe_8xb128-coslr-50e_in1k.py 8
Published: 73.5 % top-1 (table 9). Not run here.
"""

_base_ = './beit-base-p16_beit-800e-linear-probe_8xb128-coslr-50e_in1k.py'
model = dict(
    backbone=dict(
        arch='large',
        layer_scale_init=1e-5,
        out_indices=13,
        init_cfg=dict(
            checkpoint='work_dirs/beit_beit-large-p16_16xb128-amp-coslr-800e_in1k/epoch_800.pth'
        ),
    ),
    head=dict(in_channels=1024),
)
