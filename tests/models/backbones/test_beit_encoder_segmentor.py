"""From a pre-training at 224 pixels into whole segmentors of other sizes."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from beit_mm.models import BEiTEncoder

ARCH = dict(embed_dims=8, num_layers=4, num_heads=2)


def segmentor(**backbone):
    init_default_scope('mmseg')
    return MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='beit_mm.BEiTEncoder',
                arch=ARCH,
                out_type='featmap',
                out_indices=(0, 1, 2, 3),
                **backbone,
            ),
            neck=dict(type='Feature2Pyramid', embed_dim=8, norm_cfg=dict(type='BN')),
            decode_head=dict(
                type='UPerHead',
                in_channels=[8] * 4,
                in_index=[0, 1, 2, 3],
                pool_scales=(1, 2),
                channels=4,
                num_classes=3,
                norm_cfg=dict(type='BN'),
            ),
            test_cfg=dict(mode='whole'),
        )
    )


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """A checkpoint of masked image modeling, positions as large as the content."""
    torch.manual_seed(0)
    encoder = BEiTEncoder(arch=ARCH, img_size=224, patch_size=16)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.normal_(std=2.0 if name.endswith('table') else 0.3)
    state = {f'backbone.{name}': tensor for name, tensor in encoder.state_dict().items()}
    others = {'neck.norm.weight': torch.ones(8), 'head.proj.weight': torch.ones(16, 8)}
    path = tmp_path_factory.mktemp('pretraining') / 'epoch_1.pth'
    torch.save(dict(state_dict=state | others, meta=dict(epoch=1)), path)
    return dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')


@pytest.mark.parametrize('size', [512, 640])
def test_224_pixels_to__equals_resizing_on_the_fly(pretrained, size):
    loaded = segmentor(img_size=size, rel_pos='per_layer', init_cfg=pretrained)
    loaded.init_weights()
    grid = size // 16
    for block in loaded.backbone.blocks:
        assert len(block.attn.relative_position_bias_table) == (2 * grid - 1) ** 2 + 3
    on_the_fly = segmentor(img_size=224, rel_pos='shared', init_cfg=pretrained)
    stretched = segmentor(
        img_size=size, rel_pos='per_layer', rel_pos_resize='bicubic', init_cfg=pretrained
    )
    for model in (on_the_fly, stretched):  # the encoder is theirs, the rest the first one's
        model.init_weights()
        model.neck.load_state_dict(loaded.neck.state_dict())
        model.decode_head.load_state_dict(loaded.decode_head.state_dict())
    images = torch.randn(1, 3, size, size)
    with torch.no_grad():
        maps, reference, others = (
            model.eval()(images, mode='tensor') for model in (loaded, on_the_fly, stretched)
        )
    assert maps.shape == (1, 3, 4 * grid, 4 * grid)
    scale = reference.std()
    assert (maps - reference).abs().max() < 1e-4 * scale
    assert (others - reference).abs().max() > 1e-2 * scale
