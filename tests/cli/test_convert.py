"""The converter: proved before anything is written, and refused where that fails."""

from pathlib import Path

import pytest
import timm.models.beit
import torch
import torch.nn as nn
from mmengine.registry import MODELS
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    BeitForMaskedImageModeling,
    BeitForSemanticSegmentation,
)

from beit_mm.apis.export.sizes import Sizes
from beit_mm.checkpoints import read_checkpoint, read_description, weights_of
from beit_mm.cli import convert
from beit_mm.contracts import UserError
from beit_mm.models import BEiTEncoder, MaskedPatchNeck, PatchMeanNeck

pytestmark = pytest.mark.slow

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2)


def randomized(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module.eval()


def pretrained(**kwargs):
    """A pre-training of ours: names and tensors."""
    model = nn.ModuleDict(
        dict(
            backbone=BEiTEncoder(**{**dict(arch=ARCH, img_size=32, patch_size=8), **kwargs}),
            neck=MaskedPatchNeck(32),
            head=nn.ModuleDict(dict(proj=nn.Linear(32, 16))),
            tokenizer=nn.Linear(2, 2),
        )
    )
    return randomized(model).state_dict()


def classifier():
    model = nn.ModuleDict(
        dict(
            backbone=BEiTEncoder(arch=ARCH, img_size=32, patch_size=8, rel_pos='per_layer'),
            neck=PatchMeanNeck(32),
            head=nn.ModuleDict(dict(fc=nn.Linear(32, 5))),
        )
    )
    return randomized(model).state_dict()


def saved(state, path):
    torch.save(dict(state_dict=state), path)
    return str(path)


@pytest.mark.parametrize(
    'target', ['unilm', 'unilm_seg', 'huggingface', 'timm', 'mmpretrain', 'mmseg']
)
@pytest.mark.parametrize('task', ['pretrain', 'classification'])
def test_there_and_back__is_proved_and_changes_no_bit(tmp_path, capsys, target, task):
    state = pretrained() if task == 'pretrain' else classifier()
    source = saved(state, tmp_path / 'ours.pth')
    there, again = str(tmp_path / 'theirs.safetensors'), str(tmp_path / 'again.pth')
    convert.main([source, there, '--to', target])
    out = capsys.readouterr().out
    assert "source (beit_mm) and beit_mm (by the original's steps): equal" in out
    assert f'beit_mm and target ({target}): equal' in out
    convert.main([there, again])
    assert 'equal' in capsys.readouterr().out
    returned = weights_of(read_checkpoint(again))
    gone = {name for name in state if name not in returned}
    assert all(torch.equal(returned[name], state[name]) for name in state if name in returned)
    allowed = ['tokenizer.']
    if task == 'classification' or target in ('timm', 'mmseg', 'unilm_seg'):
        allowed += ['backbone.mask_token']
        assert 'only pre-training masks patches' in out
    if target in ('mmseg', 'unilm_seg') or target == 'timm' and task == 'pretrain':
        allowed += ['neck.', 'head.', 'backbone.rel_pos_bias.']
        assert task == 'classification' or 'one table for every layer' in out
    assert all(name.startswith(tuple(allowed)) for name in gone)


def test_target__is_what_its_library_loads(tmp_path):
    """Independently of the converter's own proof."""
    source = saved(classifier(), tmp_path / 'ours.pth')
    convert.main([source, str(tmp_path / 'timm.pth'), '--to', 'timm'])
    model = timm.models.beit.Beit(
        img_size=32,
        patch_size=8,
        num_classes=5,
        embed_dim=32,
        depth=2,
        num_heads=2,
        init_values=0.1,
        use_rel_pos_bias=True,
        use_abs_pos_emb=False,
    )
    model.load_state_dict(torch.load(tmp_path / 'timm.pth'), strict=True)

    convert.main([source, str(tmp_path / 'mmpretrain.pth'), '--to', 'mmpretrain'])
    arch = dict(ARCH, feedforward_channels=128)
    theirs = MODELS.build(
        dict(
            _scope_='mmpretrain',
            type='ImageClassifier',
            backbone=dict(type='BEiTViT', arch=arch, img_size=32, patch_size=8),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=32),
        )
    )
    theirs.load_state_dict(torch.load(tmp_path / 'mmpretrain.pth')['state_dict'], strict=True)

    convert.main([source, str(tmp_path / 'original.pth'), '--to', 'unilm'])
    content = torch.load(tmp_path / 'original.pth')
    index = content['model']['blocks.0.attn.relative_position_index']
    assert torch.equal(index, timm.models.beit.gen_relative_position_index((4, 4)))


def test_huggingface__printed_config_builds_the_model(tmp_path, capsys):
    state = pretrained()
    goal = tmp_path / 'hub' / 'model.safetensors'
    convert.main([saved(state, tmp_path / 'ours.pth'), str(goal), '--to', 'huggingface'])
    (line,) = [s for s in capsys.readouterr().out.splitlines() if s.startswith('its config.json: ')]
    (tmp_path / 'hub' / 'config.json').write_text(line.removeprefix('its config.json: '))
    model, info = BeitForMaskedImageModeling.from_pretrained(
        tmp_path / 'hub', output_loading_info=True
    )
    assert not info['missing_keys'] and not info['unexpected_keys']
    assert torch.equal(model.lm_head.weight, state['head.proj.weight'])


def test_img_size__equals_resizing_at_run_time(tmp_path, capsys):
    state = pretrained(abs_pos=True)
    source = saved(state, tmp_path / 'ours.pth')
    convert.main([source, str(tmp_path / 'big.pth'), '--img-size', '48', '64'])
    assert '2 resized' in capsys.readouterr().out
    x = torch.randn(1, 3, 48, 64)
    outputs = []
    for path, size in ((source, 32), (tmp_path / 'big.pth', (48, 64))):
        model = BEiTEncoder(arch=ARCH, img_size=size, patch_size=8, abs_pos=True).eval()
        weights = weights_of(read_checkpoint(path))
        own = {n[9:]: t for n, t in weights.items() if n.startswith('backbone.')}
        model.load_state_dict(own, strict=True)
        outputs.append(model(x)[0])
    assert torch.allclose(*outputs, atol=1e-5)


@pytest.mark.parametrize('target', ['timm', 'huggingface', 'mmseg'])
def test_img_size__and_another_layout(tmp_path, capsys, target):
    source = saved(classifier(), tmp_path / 'ours.pth')
    goal = str(tmp_path / 'big.safetensors')
    convert.main([source, goal, '--img-size', '64', '--to', target])
    tables = [t for n, t in read_checkpoint(goal).items() if n.endswith('bias_table')]
    assert [len(table) for table in tables] == [15 * 15 + 3] * 2


@pytest.mark.parametrize('target', ['beit_mm', 'unilm', 'unilm_seg', 'timm', 'mmpretrain', 'mmseg'])
def test_rectangle__is_proved_once_its_size_is_said(tmp_path, capsys, target):
    encoder = BEiTEncoder(arch=ARCH, img_size=(16, 32), patch_size=8, rel_pos='per_layer')
    state = {f'backbone.{n}': t for n, t in randomized(encoder).state_dict().items()}
    source, goal = saved(state, tmp_path / 'ours.pth'), str(tmp_path / 'goal.safetensors')
    with pytest.raises(UserError, match='--source-img-size H W'):
        convert.main([source, goal, '--to', target])
    with pytest.raises(UserError, match='does not fit'):
        convert.main([source, goal, '--to', target, '--source-img-size', '32'])
    sides = ['--source-img-size', '16', '32']
    convert.main([source, goal, '--to', target, *sides])
    assert target == 'beit_mm' or f'({target}): equal' in capsys.readouterr().out
    convert.main([goal, str(tmp_path / 'again.pth'), *sides])
    again = weights_of(read_checkpoint(tmp_path / 'again.pth'))
    assert all(torch.equal(again[n], t) for n, t in state.items() if n in again)
    assert set(state) - set(again) <= {'backbone.mask_token'}
    large = str(tmp_path / 'large.safetensors')
    convert.main([source, large, '--to', target, *sides, '--img-size', '24', '48'])
    assert 'source at 24 x 48 pixels and resized: equal' in capsys.readouterr().out


@pytest.mark.parametrize('library', ['timm', 'transformers', 'original'])
def test_class_token_classifier__its_pooling_is_said_to_be_lost(tmp_path, capsys, library):
    """Backbone and head are there, but a mean of patches before the head would be wrong."""
    if library == 'transformers':
        config = BeitConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            use_relative_position_bias=True,
            use_mean_pooling=False,
            num_labels=5,
        )
        state = randomized(BeitForImageClassification(config)).state_dict()
    else:
        model = timm.models.beit.Beit(
            img_size=32,
            patch_size=8,
            num_classes=5,
            embed_dim=32,
            depth=2,
            num_heads=2,
            init_values=0.1,
            use_rel_pos_bias=True,
            use_abs_pos_emb=False,
            global_pool='token',
        )
        state = randomized(model).state_dict()
        if library == 'original':
            index = timm.models.beit.gen_relative_position_index((4, 4))
            state['blocks.0.attn.relative_position_index'] = index
    source, goal = saved(state, tmp_path / 'theirs.pth'), tmp_path / 'ours.pth'
    convert.main([source, str(goal)])
    out = capsys.readouterr().out
    assert 'note: head.fc' in out and 'classifies the class token' in out
    assert 'logits not proved, as no tensor says what the head pools' in out
    assert 'equal featmap and tokens' in out and 'and logits' not in out
    stored = weights_of(read_checkpoint(goal))
    assert 'head.fc.weight' in stored and 'backbone.norm.weight' in stored
    for target in ('timm', 'huggingface', 'mmpretrain'):
        convert.main([str(goal), str(tmp_path / f'{target}.pth'), '--to', target])
        assert capsys.readouterr().out.count('logits not proved') == 2


def test_mean_classifier__has_no_note(tmp_path, capsys):
    convert.main([saved(classifier(), tmp_path / 'a.pth'), str(tmp_path / 'b.pth')])
    out = capsys.readouterr().out
    assert 'note' not in out and 'not proved' not in out and 'and logits' in out


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('out_type', ['avg_featmap', 'raw', 'pretrain'])
def test_bare_backbone_of_mmpretrain__is_proved(tmp_path, capsys, out_type, shared):
    theirs = MODELS.build(
        dict(
            type=f'mmpretrain.BEiT{"Pretrain" * (out_type == "pretrain")}ViT',
            arch=dict(ARCH, feedforward_channels=128),
            img_size=32,
            patch_size=8,
            out_type='raw' if out_type == 'pretrain' else out_type,
            final_norm=out_type != 'avg_featmap',
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
        )
    )
    randomized(theirs)
    source, goal = saved(theirs.state_dict(), tmp_path / 'a.pth'), tmp_path / 'b.pth'
    convert.main([source, str(goal)])
    out = capsys.readouterr().out
    assert 'beit_mm: equal featmap' in out
    named = out.split('source (')[1].split(')')[0]
    assert named == ('mmseg' if out_type == 'raw' and not shared else 'mmpretrain')
    assert torch.equal(weights_of(read_checkpoint(goal))['backbone.cls_token'], theirs.cls_token)


def test_mlp_ratio__of_any_width():
    state = dict(pretrained())
    for dims in (48, 1408):
        for hidden in range(dims, 2 * dims):
            state['backbone.patch_embed.proj.weight'] = torch.empty(dims, 3, 8, 8, device='meta')
            state['backbone.blocks.0.mlp.fc1.weight'] = torch.empty(hidden, dims, device='meta')
            assert int(dims * Sizes.read(state, None, None).mlp_ratio) == hidden


def test_mlps_of_others__are_refused_in_words(tmp_path):
    model = timm.models.beit.Beit(
        img_size=32,
        patch_size=8,
        num_classes=5,
        embed_dim=32,
        depth=2,
        num_heads=2,
        init_values=0.1,
        use_rel_pos_bias=True,
        swiglu_mlp=True,
    )
    goal = tmp_path / 'goal.pth'
    with pytest.raises(UserError, match='MLP of block 0 has .*fc1_g.* fc1 and fc2 were expected'):
        convert.main([saved(model.state_dict(), tmp_path / 'swiglu.pth'), str(goal)])
    state = pretrained(arch=dict(ARCH, mlp_ratio=2.5))
    source = saved(state, tmp_path / 'ours.pth')
    with pytest.raises(ValueError, match='80 channels for 32'):
        convert.main([source, str(goal), '--to', 'mmseg'])
    assert not goal.exists()
    convert.main([source, str(goal), '--to', 'timm'])


def test_rectangle__transformers_computes_something_else(tmp_path):
    """Its modules reshape the table to (width, height), then interpolate it."""
    encoder = BEiTEncoder(arch=ARCH, img_size=(16, 32), patch_size=8, rel_pos='per_layer')
    source, goal = saved(encoder.state_dict(), tmp_path / 'ours.pth'), tmp_path / 'g.safetensors'
    to = [source, str(goal), '--to', 'huggingface', '--source-img-size', '16', '32']
    with pytest.raises(UserError, match='images that are not square'):
        convert.main(to)
    assert not goal.exists()
    convert.main([*to, '--img-size', '32'])
    assert goal.exists()


def test_rectangle__index_is_that_of_the_library(tmp_path):
    encoder = BEiTEncoder(arch=ARCH, img_size=(16, 32), patch_size=8, rel_pos='per_layer')
    source, goal = saved(encoder.state_dict(), tmp_path / 'ours.pth'), tmp_path / 'goal.pth'
    convert.main([source, str(goal), '--to', 'unilm', '--source-img-size', '16', '32'])
    index = torch.load(goal)['model']['blocks.0.attn.relative_position_index']
    assert torch.equal(index, timm.models.beit.gen_relative_position_index((2, 4)))


@pytest.mark.parametrize('abs_pos', [False, True])
def test_img_size__wrong_positions_are_found_out(tmp_path, monkeypatch, abs_pos):
    rel_pos = None if abs_pos else 'shared'
    source = saved(pretrained(abs_pos=abs_pos, rel_pos=rel_pos), tmp_path / 'ours.pth')
    name = 'resize_pos_embed' if abs_pos else 'resize_table'
    right = getattr(convert, name)

    def transposed(tensor, source, target):
        return right(tensor, source, target).flip(1 if abs_pos else 0)

    monkeypatch.setattr(convert, name, transposed)
    with pytest.raises(UserError, match='resized: .* differ by'):
        convert.main([source, str(tmp_path / 'goal.pth'), '--img-size', '48', '64'])
    assert not (tmp_path / 'goal.pth').exists()


def test_img_size__of_a_half_precision_checkpoint(tmp_path):
    state = {n: t.bfloat16() for n, t in pretrained(abs_pos=True).items()}
    source, goal = saved(state, tmp_path / 'ours.pth'), tmp_path / 'goal.pth'
    convert.main([source, str(goal), '--img-size', '64'])
    assert {t.dtype for t in weights_of(read_checkpoint(goal)).values()} == {torch.bfloat16}


def test_backbone_not_covered__is_an_error_and_nothing_is_written(tmp_path):
    target = tmp_path / 'target.pth'
    state = pretrained()
    for name in ('backbone.blocks.1.mlp.fc2.bias', 'backbone.blocks.0.gamma_2'):
        part = {n: t for n, t in state.items() if n != name}
        source = saved(part, tmp_path / f'{name}.pth')
        with pytest.raises((ValueError, KeyError), match=name.split('.', 1)[1]):
            convert.main([source, str(target)])
    more = dict(state, **{'backbone.blocks.0.attn.extra': torch.ones(1)})
    with pytest.raises(UserError, match='extra'):
        convert.main([saved(more, tmp_path / 'more.pth'), str(target)])
    assert not target.exists()


def test_another_function__is_found_out(tmp_path, monkeypatch):
    """A converter that exchanges two tensors of one shape has the names right."""
    source, target = saved(classifier(), tmp_path / 'ours.pth'), tmp_path / 'target.pth'
    layout = convert.LAYOUTS['timm']
    right = layout.from_ours

    def wrong(*args):
        conversion = right(*args)
        a, b = 'blocks.0.norm1.weight', 'blocks.0.norm2.weight'
        result = conversion.result
        result[a], result[b] = result[b], result[a]
        return conversion

    monkeypatch.setattr(layout, 'from_ours', wrong)
    with pytest.raises(UserError, match='differ by'):
        convert.main([source, str(target), '--to', 'timm'])
    assert not target.exists()


def test_refusals(tmp_path, capsys):
    source = saved(classifier(), tmp_path / 'ours.pth')
    before = Path(source).read_bytes()
    with pytest.raises(UserError, match='exists already'):
        convert.main([source, source])
    assert Path(source).read_bytes() == before
    other = saved(nn.Linear(2, 2).state_dict(), tmp_path / 'other.pth')
    with pytest.raises(UserError, match='no layout that is known'):
        convert.main([other, str(tmp_path / 'x.pth')])
    with pytest.raises(UserError, match='patch size'):
        convert.main([source, str(tmp_path / 'x.pth'), '--img-size', '50'])
    with pytest.raises(FileNotFoundError, match='none.pth'):
        convert.main([str(tmp_path / 'none.pth'), str(tmp_path / 'x.pth')])
    convert.main([source])
    assert 'layout: beit_mm' in capsys.readouterr().out


def test_hub_model_of_another_size__becomes_ours(tmp_path, capsys):
    config = BeitConfig(
        vocab_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=24,
        patch_size=8,
        use_mask_token=True,
        use_shared_relative_position_bias=True,
        layer_scale_init_value=0.0,
        layer_norm_eps=1e-6,
    )
    randomized(BeitForMaskedImageModeling(config)).save_pretrained(tmp_path)
    convert.main([str(tmp_path / 'model.safetensors'), str(tmp_path / 'ours.pth'), '--report'])
    out = capsys.readouterr().out
    assert 'equal logits' in out
    for name in read_checkpoint(tmp_path / 'model.safetensors'):
        assert name in out
    stored = read_checkpoint(tmp_path / 'ours.pth')
    assert stored['meta'] == dict(layout='beit_mm', source_layout='huggingface', task='pretrain')


def test_segmentor_of_the_hub__gives_its_backbone(tmp_path, capsys):
    config = BeitConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        out_indices=[0, 1, 2, 3],
        use_relative_position_bias=True,
        num_labels=5,
    )
    randomized(BeitForSemanticSegmentation(config)).save_pretrained(tmp_path)
    convert.main([str(tmp_path / 'model.safetensors'), str(tmp_path / 'ours.pth')])
    out = capsys.readouterr().out
    assert 'equal featmap' in out and 'only the backbone of their segmentor is read' in out


def test_timm_with_one_table_for_all_layers__is_proved(tmp_path, capsys):
    model = timm.models.beit.Beit(
        img_size=32,
        patch_size=8,
        num_classes=5,
        embed_dim=32,
        depth=2,
        num_heads=2,
        init_values=0.1,
        use_shared_rel_pos_bias=True,
    )
    torch.save(randomized(model).state_dict(), tmp_path / 'timm.pth')
    convert.main([str(tmp_path / 'timm.pth'), str(tmp_path / 'ours.pth')])
    assert 'equal featmap and logits' in capsys.readouterr().out


def test_task_backbone__leaves_the_head(tmp_path):
    source = saved(classifier(), tmp_path / 'ours.pth')
    for target in ('beit_mm', 'unilm', 'huggingface', 'mmpretrain', 'timm'):
        goal = tmp_path / f'{target}.safetensors'
        convert.main([source, str(goal), '--to', target, '--task', 'backbone'])
        names = ' '.join(read_checkpoint(goal))
        assert 'head' not in names and 'neck' not in names and 'fc_norm' not in names
        assert 'pooler' not in names and 'classifier' not in names


def test_several_sources__are_read_as_one(tmp_path):
    state = classifier()
    names = list(state)
    first = saved({n: state[n] for n in names[::2]}, tmp_path / 'a.pth')
    second = saved({n: state[n] for n in names[1::2]}, tmp_path / 'b.pth')
    convert.main([first, second, str(tmp_path / 'both.pth')])
    stored = weights_of(read_checkpoint(tmp_path / 'both.pth'))
    assert all(torch.equal(stored[name], tensor) for name, tensor in state.items())
    with pytest.raises(UserError, match='another source both hold'):
        convert.main([first, first, str(tmp_path / 'twice.pth')])


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_description__stays_true_of_what_is_written(tmp_path, capsys, suffix):
    images = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], channel_order='RGB')
    said = dict(
        format=2,
        model='MaskedImageModel',
        images=images,
        backbone=dict(type='BEiTEncoder', patch_size=8, img_size=[16, 64]),
        tokenizer=dict(type='DVAETokenizer', sha256='0'),
    )
    state = pretrained(img_size=(16, 64))
    source = str(tmp_path / 'ours.pth')
    torch.save(dict(state_dict=state, meta=dict(beit_mm=said)), source)

    goal = tmp_path / f'all{suffix}'
    convert.main([source, str(goal)])
    assert read_description(goal) == said
    goal = tmp_path / f'backbone{suffix}'
    # Its own size is what the source says, which positions alone don't tell.
    convert.main([source, str(goal), '--task', 'backbone', '--img-size', '32', '48'])
    found = read_description(goal)
    assert 'tokenizer' not in found and found['images'] == images
    assert found['backbone']['img_size'] == [32, 48]
    capsys.readouterr()
    convert.main([source, str(tmp_path / f'theirs{suffix}'), '--to', 'unilm'])
    assert 'mean [1.0, 2.0, 3.0]' in capsys.readouterr().out
    assert read_description(tmp_path / f'theirs{suffix}') is None


def test_description__hostile_text_in_safetensors_is_none(tmp_path):
    from safetensors.torch import save_file

    for text in ('[' * 100_000, '{', '7', '{"format": 4}'):
        path = tmp_path / f'{len(text)}.safetensors'
        save_file(dict(a=torch.zeros(1)), path, metadata=dict(beit_mm=text))
        assert read_description(path) is None


@pytest.mark.parametrize('form', ['dataset_meta', 'before 1.0', 'description'])
@pytest.mark.parametrize('target', ['mmpretrain', 'beit_mm'])
def test_class_names__are_carried_along(tmp_path, form, target):
    """mmpretrain's and mmseg's inferencers look for them in meta.dataset_meta."""
    names = dict(classes=['ant', 'bee', 'cow', 'dog', 'eel'], palette=[[i, 0, 9] for i in range(5)])
    meta = {
        'dataset_meta': dict(dataset_meta=names),
        'before 1.0': dict(CLASSES=names['classes'], PALETTE=names['palette']),
        'description': dict(beit_mm=dict(format=3, **names)),
    }[form]
    source = str(tmp_path / 'ours.pth')
    torch.save(dict(state_dict=classifier(), meta=meta), source)
    convert.main([source, str(tmp_path / 'theirs.pth'), '--to', target])
    assert read_checkpoint(tmp_path / 'theirs.pth')['meta']['dataset_meta'] == names
    convert.main([source, str(tmp_path / 'b.pth'), '--to', target, '--task', 'backbone'])
    assert 'dataset_meta' not in read_checkpoint(tmp_path / 'b.pth')['meta']
