"""SETR-PUP, the decoder of the paper, in the place of SETR-naive: it needs the encoder less.

    python tools/train.py configs/segmentation/beit-micro-p8_beit_setr-pup_digit-scenes-500.py
Results and hardware: see docs/benchmarks.md.
"""

_base_ = './beit-micro-p8_beit_setr-naive_digit-scenes-500.py'

model = dict(decode_head=dict(channels=48, num_convs=3, up_scale=2, kernel_size=3))
