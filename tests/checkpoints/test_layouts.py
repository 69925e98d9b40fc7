"""Each layout against the library it comes from: equal outputs, and back without a changed bit."""

import pytest
import timm.models.beit
import torch
import torch.nn as nn
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, load_checkpoint
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    BeitForMaskedImageModeling,
    BeitForSemanticSegmentation,
    BeitModel,
)

from beit_mm.checkpoints import (
    LAYOUTS,
    detect,
    in_our_layout,
    keep_layout,
    loaders,
    read_checkpoint,
    task_of,
    unwrap,
    write_weights,
)
from beit_mm.models import (
    BEiTEncoder,
    MaskedPatchNeck,
    PatchAggregationNeck,
    PatchMeanNeck,
    VQKDTokenizer,
)

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2)
SIZES = dict(arch=ARCH, img_size=32, patch_size=8)
THEIR_ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=128)


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module.eval()


def close(a, b):
    return (a - b).abs().max() <= 1e-5 * b.abs().max()


class Ours(nn.Module):
    """Backbone, neck and a linear head under the names of a model of ours."""

    def __init__(self, task, second=False, **kwargs):
        super().__init__()
        rel_pos = 'shared' if task == 'pretrain' else 'per_layer'
        self.backbone = BEiTEncoder(**{**SIZES, 'rel_pos': rel_pos, **kwargs})
        if task == 'pretrain':
            self.neck = MaskedPatchNeck(32)
            if second:
                self.neck = PatchAggregationNeck(32, 2, num_layers=2, early_layer=2, depth=3)
            self.head = nn.ModuleDict(dict(proj=nn.Linear(32, 16)))
        elif task == 'classification':
            self.neck = PatchMeanNeck(32)
            self.head = nn.ModuleDict(dict(fc=nn.Linear(32, 5)))
        self.eval()

    def logits(self, x, mask):
        if isinstance(self.neck, PatchMeanNeck):
            return self.head['fc'](self.neck(self.backbone(x))[0])
        if isinstance(self.neck, MaskedPatchNeck):
            return self.head['proj'](self.neck(self.backbone(x, mask), mask))
        outputs, bias = self.backbone(x, mask, return_bias=True)
        features = self.neck(outputs, mask, bias)
        return torch.cat([self.head['proj'](features[k]) for k in ('main', 'aggregation')])


def batch():
    x = torch.randn(2, 3, 32, 32)
    return x, torch.rand(2, 4, 4) < 0.4


def loaded(task, state, layout, **kwargs):
    """Our model with their tensors; every tensor of both sides is accounted for."""
    assert detect(state) == layout
    conversion = LAYOUTS[layout].to_ours(state)
    model = Ours(task, **kwargs)
    missing = model.load_state_dict(conversion.result, strict=False).missing_keys
    assert set(missing) <= {'backbone.mask_token'}
    return model, conversion


def back(conversion, layout, task):
    """Their layout again: the same names but for constants and what was dropped, the same bits."""
    returned = LAYOUTS[layout].from_ours(conversion.result, task).result
    for name, tensor in conversion.source.items():
        if name in returned:
            assert torch.equal(returned[name], tensor), name
    lost = set(conversion.source) - set(returned)
    dropped = {n for line in conversion.lines if line.what == 'dropped' for n in line.sources}
    assert lost <= dropped
    return returned


# ---- transformers ----


def hf_config(**kwargs):
    settings = dict(
        vocab_size=16,
        num_labels=5,
        hidden_size=32,
        num_hidden_layers=4 if 'out_indices' in kwargs else 3,
        num_attention_heads=2,
        intermediate_size=128,
        image_size=32,
        patch_size=8,
        layer_scale_init_value=0.1,
        layer_norm_eps=1e-6,
    )
    return BeitConfig(**{**settings, **kwargs})


def hub_names(model, folder):
    """What save_pretrained writes: the names of the files on the hub."""
    model.save_pretrained(folder)
    return read_checkpoint(folder / 'model.safetensors')


@pytest.mark.parametrize('names', ['modules', 'hub'])
@pytest.mark.parametrize('mean_pooling', [True, False])
def test_huggingface__masked_image_modeling(tmp_path, names, mean_pooling):
    config = hf_config(
        use_mask_token=True,
        use_shared_relative_position_bias=True,
        use_mean_pooling=mean_pooling,
    )
    theirs = randomised(BeitForMaskedImageModeling(config))
    hub = hub_names(theirs, tmp_path)
    state = hub if names == 'hub' else theirs.state_dict()
    ours, conversion = loaded('pretrain', state, 'huggingface', final_norm=not mean_pooling)
    x, mask = batch()
    reference = theirs(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)]
    assert close(ours.logits(x, mask), reference)
    returned = LAYOUTS['huggingface'].from_ours(ours.state_dict(), 'pretrain').result
    assert set(returned) == set(hub)
    assert all(torch.equal(returned[name], tensor) for name, tensor in hub.items())
    if not mean_pooling:  # its own from_pretrained confuses the two norms of such a model
        return
    write_weights(returned, tmp_path / 'again' / 'model.safetensors')
    config.save_pretrained(tmp_path / 'again')
    again = BeitForMaskedImageModeling.from_pretrained(tmp_path / 'again').eval()
    assert torch.equal(again(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)], reference)


def test_huggingface__classification_and_abs_pos(tmp_path):
    config = hf_config(use_relative_position_bias=True, use_absolute_position_embeddings=True)
    theirs = randomised(BeitForImageClassification(config))
    hub = hub_names(theirs, tmp_path)
    ours, conversion = loaded('classification', hub, 'huggingface', abs_pos=True)
    x, mask = batch()
    assert close(ours.logits(x, mask), theirs(x).logits)
    assert set(back(conversion, 'huggingface', 'classification')) == set(hub)


@pytest.mark.parametrize('names', ['modules', 'hub'])
def test_huggingface__bare_model(tmp_path, names):
    config = hf_config(use_relative_position_bias=True, use_mean_pooling=False)
    theirs = randomised(BeitModel(config))
    state = hub_names(theirs, tmp_path) if names == 'hub' else theirs.state_dict()
    assert not any(name.startswith('beit.') for name in state)
    ours, _ = loaded('backbone', state, 'huggingface', final_norm=True)
    x, _ = batch()
    assert close(ours.backbone(x)[0], theirs(x).last_hidden_state)


def test_huggingface__segmentor_gives_its_backbone(tmp_path):
    config = hf_config(use_relative_position_bias=True, out_indices=[1, 2, 3, 4], image_size=32)
    theirs = randomised(BeitForSemanticSegmentation(config))
    state = hub_names(theirs, tmp_path)
    ours, conversion = loaded('backbone', state, 'huggingface', arch=dict(ARCH, num_layers=4))
    backbone = theirs.beit if hasattr(theirs, 'beit') else theirs.backbone
    own = {n for n, _ in backbone.named_parameters()}
    moved = {n for line in conversion.lines if line.what != 'dropped' for n in line.sources}
    assert moved == {n for n in state if n.startswith('beit.')} and len(own) >= len(moved)


# ---- timm and the original ----


def timm_model(**kwargs):
    settings = dict(
        img_size=32,
        patch_size=8,
        num_classes=5,
        embed_dim=32,
        depth=3,
        num_heads=2,
        init_values=0.1,
        use_rel_pos_bias=True,
        use_abs_pos_emb=False,
    )
    return randomised(timm.models.beit.Beit(**{**settings, **kwargs}))


def test_timm__classification():
    theirs = timm_model(use_abs_pos_emb=True)
    ours, conversion = loaded('classification', theirs.state_dict(), 'timm', abs_pos=True)
    x, mask = batch()
    assert close(ours.logits(x, mask), theirs(x))
    returned = back(conversion, 'timm', 'classification')
    timm_model(use_abs_pos_emb=True).load_state_dict(returned, strict=True)


def original(theirs, task, second=False):
    """The original's files have the names of timm's model, its constants, and a wrapper."""
    state = dict(theirs.state_dict())
    for name in [name for name in state if name.endswith('table')]:
        state[name.replace('bias_table', 'index')] = theirs_index()
    if task == 'pretrain':
        state['mask_token'] = torch.randn(1, 1, 32)
        state['lm_head.weight'], state['lm_head.bias'] = torch.randn(16, 32), torch.randn(16)
        for name in [n for n in state if n.startswith('head.')]:
            del state[name]
    if second:
        extra = {n: t for n, t in state.items() if n.startswith(('blocks.0.', 'blocks.1.'))}
        for name, tensor in extra.items():
            state[name.replace('blocks', 'cls_pt_layers')] = torch.randn_like(tensor)
    return state


def theirs_index():
    return timm.models.beit.gen_relative_position_index((4, 4))


def test_original__fine_tuned():
    theirs = timm_model()
    state = original(theirs, 'classification')
    ours, conversion = loaded('classification', state, 'unilm')
    x, mask = batch()
    assert close(ours.logits(x, mask), theirs(x))
    returned = back(conversion, 'unilm', 'classification')
    assert set(returned) == set(state)  # the index is made again, with the same entries


@pytest.mark.parametrize('second', [False, True])
def test_original__pretrained(second):
    theirs = timm_model(
        use_rel_pos_bias=False, use_shared_rel_pos_bias=True, num_classes=0, global_pool=''
    )
    state = original(theirs, 'pretrain', second)
    options = dict(out_indices=(1, 2), second=True) if second else {}
    ours, conversion = loaded('pretrain', state, 'unilm', **options)
    x, mask = batch()

    # the original's steps, with timm's modules
    tokens = torch.where(mask.flatten(1)[..., None], state['mask_token'], theirs.patch_embed(x))
    tokens = torch.cat([state['cls_token'].expand(2, -1, -1), tokens], 1)
    bias = theirs.rel_pos_bias()
    outputs = []
    for block in theirs.blocks:
        tokens = block(tokens, shared_rel_pos_bias=bias)
        outputs.append(tokens)
    streams = [tokens]
    if second:
        tokens = torch.cat([tokens[:, :1], outputs[1][:, 1:]], 1)
        for i, block in enumerate(theirs.blocks[:2]):
            prefix = f'cls_pt_layers.{i}.'
            part = {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}
            block.load_state_dict(part)
            tokens = block(tokens, shared_rel_pos_bias=bias)
        streams.append(tokens)
    head = (state['lm_head.weight'], state['lm_head.bias'])
    reference = torch.cat(
        [nn.functional.linear(theirs.norm(s)[:, 1:][mask.flatten(1)], *head) for s in streams]
    )
    assert close(ours.logits(x, mask), reference)
    assert set(back(conversion, 'unilm', 'pretrain')) == set(state)


# ---- mmpretrain and mmseg ----


def their_pretraining(second=False):
    backbone = dict(
        type='mmpretrain.BEiTPretrainViT',
        arch=THEIR_ARCH,
        img_size=32,
        patch_size=8,
        out_indices=[1, 2] if second else [-1],
        final_norm=not second,
    )
    loss = dict(type='mmpretrain.CrossEntropyLoss')
    head = dict(type=f'BEiTV{2 if second else 1}Head', embed_dims=32, num_embed=16, loss=loss)
    model = dict(backbone=MODELS.build(backbone))
    if second:
        from mmpretrain.models.necks import BEiTV2Neck  # its config needs a key it refuses

        class Neck(BEiTV2Neck):
            arch_zoo = dict(base=dict(THEIR_ARCH, depth=3))

        model['neck'] = Neck(num_layers=2, early_layers=2, backbone_arch='base')
    model['head'] = MODELS.build(dict(head, type=f'mmpretrain.{head["type"]}'))
    return randomised(nn.ModuleDict(model))


@pytest.mark.parametrize('second', [False, True])
def test_mmpretrain__pretraining(second):
    theirs = their_pretraining(second)
    options = dict(out_indices=(1, 2), second=True) if second else {}
    state = dict(theirs.state_dict(), **{'target_generator.w': torch.ones(1)})
    ours, conversion = loaded('pretrain', state, 'mmpretrain', **options)
    x, mask = batch()
    features = theirs['backbone'](x, mask)
    if second:
        features = theirs['neck'](features, rel_pos_bias=theirs['backbone'].shared_rel_pos_bias)
        streams = list(features)
    else:
        streams = [features[0][:, 1:]]
    masked = torch.cat([s[mask.flatten(1)] for s in streams])
    assert close(ours.logits(x, mask), theirs['head'].cls_head(masked))
    returned = back(conversion, 'mmpretrain', 'pretrain')
    assert set(returned) == set(theirs.state_dict())
    their_pretraining(second).load_state_dict(returned, strict=True)


def their_classifier():
    return randomised(
        MODELS.build(
            dict(
                _scope_='mmpretrain',
                type='ImageClassifier',
                backbone=dict(type='BEiTViT', arch=THEIR_ARCH, img_size=32, patch_size=8),
                head=dict(type='LinearClsHead', num_classes=5, in_channels=32),
            )
        )
    )


def test_mmpretrain__classification():
    theirs = their_classifier()
    ours, conversion = loaded('classification', theirs.state_dict(), 'mmpretrain')
    x, mask = batch()
    assert close(
        ours.logits(x, mask),
        theirs.head.fc(theirs.backbone(x)[-1]),
    )
    returned = back(conversion, 'mmpretrain', 'classification')
    their_classifier().load_state_dict(returned, strict=True)


def their_segmentor():
    backbone = dict(
        type='BEiT',
        img_size=32,
        patch_size=8,
        embed_dims=32,
        num_layers=3,
        num_heads=2,
        out_indices=(0, 2),
        norm_cfg=dict(type='LN', eps=1e-6),
    )
    head = dict(
        type='FCNHead',
        in_channels=32,
        channels=8,
        num_classes=3,
        num_convs=1,
        norm_cfg=dict(type='BN'),
    )
    return dict(_scope_='mmseg', type='EncoderDecoder', backbone=backbone, decode_head=head)


def test_mmseg__segmentor():
    config = their_segmentor()
    theirs = randomised(MODELS.build(config))
    backbone = dict(type='beit_mm.BEiTEncoder', rel_pos='per_layer', out_type='featmap', **SIZES)
    ours = MODELS.build(dict(config, backbone=dict(backbone, out_indices=(0, 2)))).eval()
    state = theirs.state_dict()
    assert detect(state) == 'mmseg'
    conversion = LAYOUTS['mmseg'].to_ours(state)
    missing = ours.load_state_dict(conversion.result, strict=False).missing_keys
    assert missing == ['backbone.mask_token']
    x, _ = batch()
    assert close(ours(x), theirs(x))
    returned = back(conversion, 'mmseg', 'segmentation')
    MODELS.build(config).load_state_dict(returned, strict=True)


def test_mmseg__file_of_their_converter():
    """beit2mmseg.py writes the patch embedding under both names."""
    theirs = randomised(MODELS.build(their_segmentor())).backbone
    state = dict(theirs.state_dict())
    for part in ('weight', 'bias'):
        state[f'patch_embed.proj.{part}'] = state[f'patch_embed.projection.{part}']
    ours, _ = loaded('backbone', state, 'mmseg', out_indices=(0, 2), out_type='featmap')
    x, _ = batch()
    assert all(close(a, b) for a, b in zip(ours.backbone(x), theirs(x), strict=True))


def test_original__segmentor_has_its_pyramid_in_the_backbone(tmp_path):
    config = their_segmentor()
    config['backbone'] = dict(
        type='beit_mm.BEiTEncoder',
        rel_pos='per_layer',
        out_type='featmap',
        out_indices=(0, 1, 2, -1),
        **{**SIZES, 'arch': dict(ARCH, num_layers=4)},
    )
    config['neck'] = dict(type='Feature2Pyramid', embed_dim=32, norm_cfg=dict(type='BN'))
    source, target = randomised(MODELS.build(config)), MODELS.build(config).eval()
    conversion = LAYOUTS['unilm_seg'].from_ours(source.state_dict(), 'segmentation')
    assert detect(conversion.result) == 'unilm_seg'
    pyramid = {n.split('.')[1] for n in conversion.result if n.startswith('backbone.fpn')}
    assert pyramid == {'fpn1', 'fpn2'} and not any(n.startswith('neck') for n in conversion.result)
    torch.save(dict(state_dict=conversion.result), tmp_path / 'upernet.pth')
    load_checkpoint(target, str(tmp_path / 'upernet.pth'))
    x, _ = batch()
    assert torch.equal(target(x), source(x))


# ---- the tokenizer of v2 ----


@pytest.mark.parametrize('names', ['mmpretrain', 'original'])
def test_vqkd__tokens_of_their_checkpoint(tmp_path, names):
    from mmpretrain.models.selfsup.beit import VQKD

    encoder = dict(
        arch=THEIR_ARCH,
        img_size=32,
        patch_size=8,
        out_type='featmap',
        final_norm=True,
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=False,
        layer_scale_init_value=0.0,
    )
    theirs = VQKD(encoder, num_embed=24, embed_dims=6, quantize_kmeans_init=False)
    for name, parameter in theirs.named_parameters():
        if 'quantize' not in name:
            nn.init.normal_(parameter, std=0.2)
    theirs.eval()
    images = torch.rand(3, 3, 32, 32)
    reference = theirs.encode(2 * images - 1)[1]
    content = dict(theirs.state_dict())
    if names == 'original':
        conversion = LAYOUTS['vqkd'].to_ours(content)
        content = LAYOUTS['vqkd'].from_ours(conversion.result).result
        assert 'encoder.fc_norm.weight' in content and 'encoder.blocks.0.mlp.fc1.bias' in content
        content['teacher_model.visual.proj'] = torch.ones(2)
    torch.save(dict(model=content), tmp_path / 'vqkd.pth')
    model = VQKDTokenizer(24, code_dim=6, img_size=32, patch_size=8, arch=ARCH).eval()
    load_checkpoint(model, str(tmp_path / 'vqkd.pth'))
    ids = model.encode(images)
    assert torch.equal(ids.flatten(), reference) and len(ids.unique()) > 2


def test_wrapped_weights_of_anything__are_unwrapped(tmp_path):
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    torch.save(dict(model=source.state_dict(), epoch=3), tmp_path / 'linear.pth')
    load_checkpoint(target, str(tmp_path / 'linear.pth'), strict=True)
    assert torch.equal(source.weight, target.weight)


class Averaged(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


@pytest.mark.parametrize('key', ['state_dict', 'model_ema', 'state_dict_ema', 'ema_state_dict', ''])
@pytest.mark.parametrize('wrap', ['nothing', 'compiled', 'parts', 'averaged', 'both'])
@pytest.mark.parametrize('layout', ['ours', 'timm'])
def test_wrapped_names__are_unwrapped_and_the_log_says_so(tmp_path, monkeypatch, key, wrap, layout):
    module = Ours('classification') if layout == 'ours' else timm_model()
    expected = randomised(module).state_dict()
    if layout == 'timm':
        expected = LAYOUTS['timm'].to_ours(expected).result
    if wrap == 'parts':
        for name, child in list(module.named_children()):
            setattr(module, name, torch.compile(child))
    if wrap in ('compiled', 'both'):
        module = torch.compile(module)
    if wrap in ('averaged', 'both'):
        module = Averaged(module)
    state = module.state_dict()
    torch.save({key: state, 'meta': dict(epoch=3)} if key else dict(state), tmp_path / 'x.pth')
    log = []
    monkeypatch.setattr(loaders, 'print_log', lambda text, **kwargs: log.append(text))
    content = CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'), logger=None)
    stored = content.get('state_dict', content)
    assert list(stored) == list(expected)
    assert all(torch.equal(stored[name], tensor) for name, tensor in expected.items())
    assert key != 'state_dict' or content['meta'] == dict(epoch=3)
    parts = dict(nothing=[], averaged=['module.'], both=['_orig_mod.', 'module.'])
    parts = parts.get(wrap, ['_orig_mod.'])
    for part in [*parts, *([key] if key not in ('', 'state_dict') else [])]:
        assert part in log[0]
    assert parts or key not in ('', 'state_dict') or not any('took' in text for text in log)


def test_averages__beside_the_weights_are_not_taken():
    for name in ('state_dict', 'model', 'module'):
        for average in ('model_ema', 'state_dict_ema', 'ema_state_dict'):
            both = {average: dict(a=torch.zeros(1)), name: dict(a=torch.ones(1))}
            assert unwrap(both) == (dict(a=torch.ones(1)), [name])


# ---- shared tables ----


@pytest.mark.parametrize(
    'layout', ['unilm', 'unilm_seg', 'timm', 'huggingface', 'mmpretrain', 'mmseg']
)
def test_shared_table__is_in_every_layer_of_a_model_that_has_no_shared_one(layout):
    """A self-supervised checkpoint as a backbone: the same features, never without the bias."""
    source = randomised(Ours('pretrain'))
    exported = LAYOUTS[layout].from_ours(source.state_dict(), 'backbone')
    expanded = [line for line in exported.lines if line.what == 'expanded']
    assert len(expanded) == 1 and len(expanded[0].targets) == 3
    assert sum(name.endswith('bias_table') for name in exported.result) == 3
    backbone = LAYOUTS[layout].to_ours(exported.result).result
    target = BEiTEncoder(rel_pos='per_layer', **SIZES).eval()
    target.load_state_dict(
        {n.removeprefix('backbone.'): t for n, t in backbone.items() if n.startswith('backbone.')},
        strict=False,
    )
    x, _ = batch()
    assert close(target(x)[0], source.backbone(x)[0])


# ---- which layout it is ----


def test_detect__knows_ours_and_leaves_others_alone():
    assert detect(Ours('pretrain').state_dict()) == 'beit_mm'
    assert detect(BEiTEncoder(final_norm=True, abs_pos=True, **SIZES).state_dict()) == 'beit_mm'
    vit = timm.create_model('vit_tiny_patch16_224', img_size=32, depth=1)
    deit = timm.create_model('deit3_small_patch16_224', img_size=32, depth=1)
    theirs = MODELS.build(
        dict(type='mmpretrain.VisionTransformer', arch=dict(THEIR_ARCH), img_size=32, patch_size=8)
    )
    for model in (vit, deit, theirs, nn.Linear(2, 2)):
        assert detect(model.state_dict()) is None
        wrapped = {f'backbone.{n}': t for n, t in model.state_dict().items()}
        assert detect(wrapped) is None


def test_detect__a_bias_of_the_key_is_not_beits():
    for prefix in ('', 'backbone.'):
        state = {prefix + name: tensor for name, tensor in timm_model().state_dict().items()}
        assert detect(state) is not None
        assert detect({**state, f'{prefix}blocks.0.attn.qkv.bias': torch.ones(96)}) is None


def test_ours__is_left_as_it_is():
    content = dict(state_dict=Ours('pretrain').state_dict(), meta=dict(iter=3))
    assert in_our_layout(content, 'x.pth') is content
    bare = BEiTEncoder(**SIZES).state_dict()
    assert in_our_layout(bare, 'x.pth') is bare


# ---- through MMEngine ----


def classifier(**backbone):
    return MODELS.build(
        dict(
            _scope_='mmpretrain',
            type='ImageClassifier',
            backbone=dict(type='beit_mm.BEiTEncoder', rel_pos='per_layer', **SIZES, **backbone),
            neck=dict(type='beit_mm.PatchMeanNeck', dims=32),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=32),
        )
    )


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('layout', ['timm', 'original', 'huggingface', 'mmpretrain'])
def test_mmengine__loads_each_of_them_as_they_are(tmp_path, layout, suffix):
    x, _ = batch()
    if layout == 'huggingface':
        theirs = randomised(BeitForImageClassification(hf_config(use_relative_position_bias=True)))
        reference, content = theirs(x).logits, theirs.state_dict()
    elif layout == 'mmpretrain':
        theirs = their_classifier()
        reference = theirs.head.fc(theirs.backbone(x)[-1])
        content = theirs.state_dict()
    else:
        theirs = timm_model()
        reference, content = theirs(x), theirs.state_dict()
        if layout == 'original':
            content = original(theirs, 'classification')
    path = tmp_path / f'theirs{suffix}'
    if suffix == '.safetensors':
        write_weights(content, path)
    else:
        torch.save(dict(model=content) if layout == 'original' else dict(content), path)

    model = classifier()
    load_checkpoint(model, str(path))
    assert close(model.eval().head.fc(model.extract_feat(x)[-1]), reference)

    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    backbone = BEiTEncoder(rel_pos='per_layer', init_cfg=init_cfg, **SIZES).eval()
    backbone.init_weights()
    assert torch.equal(backbone(x)[0], model.backbone(x)[0])


def test_mmengine__models_of_mmpretrain_load_their_own_checkpoints(tmp_path):
    theirs, again = their_classifier(), their_classifier()
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'theirs.pth')
    load_checkpoint(again, str(tmp_path / 'theirs.pth'))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with keep_layout():
        load_checkpoint(again, str(tmp_path / 'theirs.pth'), strict=True)


@pytest.mark.parametrize('size', [64, (48, 64)])
def test_self_supervised_checkpoint__as_backbone_of_a_segmentor(tmp_path, size):
    """mmseg's own backbone cannot: no shared table there, and no other image size."""
    theirs = timm_model(
        use_rel_pos_bias=False, use_shared_rel_pos_bias=True, num_classes=0, global_pool=''
    )
    torch.save(dict(model=original(theirs, 'pretrain')), tmp_path / 'pretrained.pth')
    config = their_segmentor()
    config['backbone'] = dict(
        type='beit_mm.BEiTEncoder',
        arch=ARCH,
        img_size=size,
        patch_size=8,
        rel_pos='per_layer',
        out_type='featmap',
        out_indices=(0, 2),
        init_cfg=dict(
            type='Pretrained', checkpoint=str(tmp_path / 'pretrained.pth'), prefix='backbone.'
        ),
    )
    segmentor = MODELS.build(config).eval()
    segmentor.init_weights()
    small = BEiTEncoder(out_type='featmap', out_indices=(0, 2), **SIZES).eval()
    load_checkpoint(nn.ModuleDict(dict(backbone=small)), str(tmp_path / 'pretrained.pth'))
    assert small.rel_pos_bias.relative_position_bias_table.abs().max() > 0
    x = torch.randn(1, 3, 64, 64) if size == 64 else torch.randn(1, 3, *size)
    for ours, reference in zip(segmentor.backbone(x), small(x), strict=True):
        assert close(ours, reference)


def test_pretraining_of_mmpretrain__its_shared_table_is_not_dropped(tmp_path):
    theirs = their_pretraining()
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'pretrained.pth')
    model = classifier()
    load_checkpoint(model, str(tmp_path / 'pretrained.pth'))
    table = theirs['backbone'].rel_pos_bias.relative_position_bias_table
    for block in model.backbone.blocks:
        assert torch.equal(block.attn.relative_position_bias_table, table)
    assert task_of(read_and_convert(tmp_path / 'pretrained.pth')) == 'pretrain'


def read_and_convert(path):
    return in_our_layout(read_checkpoint(path), str(path))['state_dict']
