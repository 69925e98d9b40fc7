import pytest
import timm
import torch
import torch.nn.functional as F
import transformers

from beit_mm.models import FrozenFeatures, TimmFeatures
from beit_mm.models.features.clip_features import CLIP_MEAN, CLIP_STD
from beit_mm.registry import MODELS

VIT = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
HF_VIT = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    image_size=32,
    patch_size=8,
)
ENCODER = dict(
    type='beit_mm.BEiTEncoder',
    arch=dict(embed_dims=32, num_layers=3, num_heads=2),
    img_size=32,
    patch_size=8,
    out_type='featmap',
)


def build(type: str, **settings) -> FrozenFeatures:
    teacher = MODELS.build(dict(type=type, **settings))
    with torch.no_grad():  # random, so that nothing can be left out without a difference
        for parameter in teacher.parameters():
            parameter.normal_(std=0.2)
    return teacher


def normalized(images, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    return (images - mean) / std


def timm_teacher(model='vit_tiny_patch16_224', **settings):
    settings = dict(pretrained=False, model_kwargs=dict(VIT), input_size=32) | settings
    return build('TimmFeatures', model=model, **settings)


def test_timm__dino_patches_after_the_last_norm():
    teacher = timm_teacher(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    images = torch.rand(2, 3, 32, 32)
    features = teacher(images, grid=(4, 4))
    assert features.shape == (2, 4, 4, 32) and teacher.dims == 32
    model = teacher.vit
    tokens = model.norm(model.blocks(_timm_embedding(model, normalized(images))))
    torch.testing.assert_close(features, tokens[:, 1:].unflatten(1, (4, 4)))


def _timm_embedding(model, x):
    patches = model.patch_embed.proj(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([model.cls_token.expand(len(x), -1, -1), patches], 1) + model.pos_embed
    return model.norm_pre(tokens)


def test_timm__own_normalization_and_size_by_default():
    name = 'vit_tiny_patch16_224'
    teacher = TimmFeatures(name, pretrained=False, model_kwargs=dict(depth=1))
    own = timm.get_pretrained_cfg(name)
    assert teacher.mean.flatten().tolist() == pytest.approx(own.mean)
    assert teacher.std.flatten().tolist() == pytest.approx(own.std)
    assert teacher.input_size == (224, 224)


def test_timm__clip_projects_every_patch_as_its_class_token():
    kwargs = dict(VIT, num_classes=24)
    teacher = timm_teacher('vit_base_patch16_clip_224', model_kwargs=kwargs, project=True)
    assert teacher.dims == 24
    images = torch.rand(1, 3, 32, 32)
    features = teacher(images)
    assert features.shape == (1, 4, 4, 24)
    # What timm makes of a class token, with a patch in the place of the class token.
    tokens = teacher.vit.forward_features((images - teacher.mean) / teacher.std)
    for patch in (0, 7):
        alone = teacher.vit.forward_head(tokens[:, 1 + patch : 2 + patch])
        torch.testing.assert_close(features.flatten(1, 2)[:, patch], alone)
    with pytest.raises(ValueError, match='project=True, but the head of'):
        timm_teacher(project=True, model_kwargs=dict(VIT, num_classes=0))


@pytest.mark.parametrize('model', ['resnet18', 'swin_tiny_patch4_window7_224'])
def test_timm__convolutional_and_windowed_models(model):
    kwargs = dict(img_size=64, embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    kwargs = kwargs if 'swin' in model else {}
    teacher = timm_teacher(model, model_kwargs=kwargs, input_size=64)
    images = torch.rand(1, 3, 64, 64)
    features = teacher(images, grid=(2, 2))
    assert features.shape == (1, 2, 2, teacher.dims)
    moved = teacher(images.flip(-1), grid=(2, 2))
    assert not torch.allclose(features, moved)


def test_clip__every_patch_through_norm_and_projection():
    config = dict(HF_VIT, model_type='clip_vision_model', projection_dim=24)
    teacher = build('CLIPFeatures', config=config)
    images = torch.rand(2, 3, 32, 32)
    features = teacher(images, grid=(4, 4))
    assert features.shape == (2, 4, 4, 24) and teacher.dims == 24
    output = teacher.vit(normalized(images, CLIP_MEAN, CLIP_STD))
    tower = getattr(teacher.vit.vision_model, 'vision_model', teacher.vit.vision_model)
    project = lambda tokens: teacher.vit.visual_projection(tower.post_layernorm(tokens))  # noqa: E731
    torch.testing.assert_close(project(output.last_hidden_state[:, 0]), output.image_embeds)
    patches = project(output.last_hidden_state[:, 1:]).unflatten(1, (4, 4))
    torch.testing.assert_close(features, patches)


def test_clip__another_input_size_gives_another_grid():
    config = dict(HF_VIT, model_type='clip_vision_model', projection_dim=24)
    teacher = build('CLIPFeatures', config=config, input_size=(16, 24))
    assert teacher(torch.rand(1, 3, 32, 48), grid=(2, 3)).shape == (1, 2, 3, 24)


@pytest.mark.parametrize('model_type', ['vit', 'dinov2_with_registers'])
def test_hf__patches_without_class_and_register_tokens(model_type):
    teacher = build('HFFeatures', config=dict(HF_VIT, model_type=model_type))
    images = torch.rand(2, 3, 32, 32)
    tokens = teacher.vit(normalized(images)).last_hidden_state
    extra = 5 if 'registers' in model_type else 1
    assert tokens.shape[1] == 16 + extra
    patches = tokens[:, extra:].unflatten(1, (4, 4))
    torch.testing.assert_close(teacher(images, grid=(4, 4)), patches)


def test_hf__configuration_object_and_either_model_or_config():
    config = transformers.ViTConfig(**HF_VIT)
    assert MODELS.build(dict(type='HFFeatures', config=config)).dims == 32
    for wrong in (dict(), dict(model='x', config=config)):
        with pytest.raises(ValueError, match='either model, the weights to load, or config'):
            MODELS.build(dict(type='HFFeatures', **wrong))


@pytest.mark.parametrize('output', [0, -1])
def test_backbone__chosen_output_row_by_row(output):
    teacher = build(
        'BackboneFeatures',
        backbone=dict(ENCODER, out_indices=(0, 2)),
        dims=32,
        output=output,
        mean=[0.5] * 3,
        std=[0.25] * 3,
    )
    images = torch.rand(2, 3, 16, 32)
    features = teacher(images, grid=(2, 4))
    maps = teacher.backbone(4 * images - 2)[output]
    torch.testing.assert_close(features, maps.permute(0, 2, 3, 1))


def test_backbone__of_mmpretrain():
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    backbone = dict(
        type='mmpretrain.VisionTransformer',
        arch=arch,
        img_size=32,
        patch_size=8,
        out_type='featmap',
    )
    teacher = build('BackboneFeatures', backbone=backbone, dims=32)
    assert teacher(torch.rand(1, 3, 32, 32), grid=(4, 4)).shape == (1, 4, 4, 32)


def test_backbone__weights_of_init_cfg_are_loaded_when_it_is_built(tmp_path):
    encoder = MODELS.build(ENCODER)
    with torch.no_grad():
        encoder.cls_token.fill_(3.0)
    torch.save({f'backbone.{k}': v for k, v in encoder.state_dict().items()}, tmp_path / 'b.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'b.pth'), prefix='backbone.')
    teacher = MODELS.build(
        dict(type='BackboneFeatures', backbone=dict(ENCODER, init_cfg=init_cfg), dims=32)
    )
    assert torch.equal(teacher.backbone.cls_token, encoder.cls_token)


def test_images_are_resized_for_the_teacher():
    teacher = build('BackboneFeatures', backbone=ENCODER, dims=32, input_size=32)
    images = torch.rand(1, 3, 8, 8).round().repeat_interleave(8, -1).repeat_interleave(8, -2)
    small = F.interpolate(images, (32, 32), mode='bicubic', antialias=True)
    assert small.max() > 1.01  # bicubic overshoots at edges, pixels do not
    small = small.clamp(0, 1)
    torch.testing.assert_close(teacher(images, grid=(4, 4)), teacher(small))


def test_another_grid__error_or_interpolation():
    strict = build('BackboneFeatures', backbone=ENCODER, dims=32)
    images = torch.rand(1, 3, 32, 32)
    message = r'4 x 4 patches of images of 32 x 32 .* the tokenizer 2 x 2; change input_size of'
    with pytest.raises(ValueError, match=message):
        strict(images, grid=(2, 2))
    free = build('BackboneFeatures', backbone=ENCODER, dims=32, interpolate=True)
    free.load_state_dict(strict.state_dict())
    small = free(images, grid=(2, 2))
    # Bilinear from 4 to 2: the mean of the two inner values of each pair of cells.
    maps = strict(images)
    torch.testing.assert_close(small[:, 0, 0], maps[:, :2, :2].mean((1, 2)))


def test_wrong_dims_and_outputs__named_in_errors():
    images = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match='BackboneFeatures.dims=48, but BEiTEncoder gives 32'):
        build('BackboneFeatures', backbone=ENCODER, dims=48)(images)
    tokens = dict(ENCODER, out_type='tokens')
    with pytest.raises(ValueError, match="backbone.out_type='featmap'"):
        build('BackboneFeatures', backbone=tokens, dims=32)(images)


@pytest.mark.parametrize('settings', [dict(type='TimmFeatures'), dict(type='BackboneFeatures')])
def test_frozen(settings):
    if settings['type'] == 'TimmFeatures':
        teacher = timm_teacher(model_kwargs=dict(VIT, drop_path_rate=0.5))
    else:
        teacher = build(
            'BackboneFeatures', backbone=dict(ENCODER, drop_path_rate=0.5), dims=32, input_size=32
        )
    assert not any(module.training for module in teacher.modules())
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    features = teacher(images)
    assert not features.requires_grad and torch.equal(features, teacher(images))
