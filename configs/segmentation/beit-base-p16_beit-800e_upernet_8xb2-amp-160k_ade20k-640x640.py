"""UPerNet on BEiT-B/16, ADE20K, 640-pixel crops: the recipe for encoders fine-tuned on ImageNet.

    bash tools/dist_train.sh configs/segmentation/beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-640x640.py 8
Published: 53.6 % mIoU with an encoder pre-trained and fine-tuned on ImageNet-22k (unilm). For it, set
model.backbone.init_cfg.checkpoint to such an encoder. Not run here.
"""

_base_ = [
    '../_base_/runtime/mmseg_runtime.py',
    '../_base_/models/beit-base-p16_upernet.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/ade20k_160k.py',
]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        img_size=640,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/beit_beit-base-p16_8xb256-amp-coslr-800e_in1k/epoch_800.pth',
            prefix='backbone.',
        ),
    ),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
optim_wrapper = dict(optimizer=dict(lr=3e-5), paramwise_cfg=dict(layer_decay_rate=0.9))
