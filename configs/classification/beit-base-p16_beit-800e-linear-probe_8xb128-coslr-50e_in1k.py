"""A linear probe of layer 9 of the frozen BEiT-B/16 (arXiv 2106.08254, appendix D).

    bash tools/dist_train.sh configs/classification/beit-base-p16_beit-800e-linear-probe_8xb128-coslr-50e_in1k.py 8
Published: 56.7 % top-1 (table 9). Not run here.
"""

_base_ = [
    '../_base_/runtime/mmpretrain_runtime.py',
    '../_base_/models/beit-base-p16_linear-probe.py',
    '../_base_/datasets/in1k_linear-probe-224.py',
    '../_base_/schedules/linear-probe_50e.py',
]
