import pytest
import timm.models.beit
import torch
from mmseg.models.backbones import BEiT
from transformers import BeitConfig, BeitForMaskedImageModeling

from beit_mm.contracts import UserError
from beit_mm.models import BEiTEncoder, MaskedPatchNeck
from beit_mm.models.layers.init import sincos_positions
from benchmarks.peers.names import from_hf

TINY = dict(embed_dims=32, num_layers=3, num_heads=2)


def encoder(**kwargs) -> BEiTEncoder:
    settings = dict(arch=TINY, img_size=32, patch_size=8)
    return BEiTEncoder(**dict(settings, **kwargs))


def randomised(module):
    """Every parameter random, so that none can be ignored without a difference."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module.eval()


def relative_error(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def test_sincos__is_the_start_of_the_absolute_embeddings():
    torch.manual_seed(0)
    sincos = encoder(abs_pos='sincos')
    torch.manual_seed(0)
    drawn = encoder(abs_pos=True)
    for (name, one), other in zip(sincos.named_parameters(), drawn.parameters(), strict=True):
        assert one.requires_grad and torch.equal(one, other) == (name != 'pos_embed'), name
    assert torch.equal(sincos.pos_embed[0, 1:], sincos_positions((4, 4), 32))
    assert torch.equal(sincos.pos_embed[:, 0], drawn.pos_embed[:, 0])
    sincos.load_state_dict(drawn.state_dict())
    sincos.init_weights()  # draws again
    assert torch.equal(sincos.pos_embed[0, 1:], sincos_positions((4, 4), 32))
    with pytest.raises(UserError, match="backbone.abs_pos='sine'"):
        encoder(abs_pos='sine')


def test_init_std__scales_all_that_is_drawn():
    torch.manual_seed(0)
    small = encoder(abs_pos=True).state_dict()
    torch.manual_seed(0)
    large = encoder(abs_pos=True, init_std=0.1).state_dict()
    for name, tensor in small.items():
        is_drawn = tensor.std() > 1e-4
        torch.testing.assert_close(large[name], (5 if is_drawn else 1) * tensor)


def test_equals_timm__outputs_and_gradients():
    theirs = randomised(
        timm.models.beit.Beit(
            img_size=32,
            patch_size=8,
            num_classes=0,
            global_pool='',
            embed_dim=32,
            depth=3,
            num_heads=2,
            init_values=0.1,
            use_rel_pos_bias=True,
            use_abs_pos_emb=True,
        )
    )
    ours = encoder(rel_pos='per_layer', abs_pos=True, final_norm=True).eval()
    report = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert report.missing_keys == ['mask_token']
    assert report.unexpected_keys == []
    x = torch.randn(2, 3, 32, 32)
    (out,) = ours(x)
    reference = theirs.forward_features(x)
    assert relative_error(out, reference) < 1e-5
    out.square().sum().backward()
    reference.square().sum().backward()
    grads = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if name != 'mask_token':
            assert relative_error(parameter.grad, grads[name].grad) < 1e-4, name


def hf_to_ours(state_dict):
    named = from_hf({f'beit.{name}': value for name, value in state_dict.items()})
    return {name.removeprefix('backbone.'): value for name, value in named.items()}


def hf_config(**kwargs) -> BeitConfig:
    return BeitConfig(
        vocab_size=16,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=128,
        image_size=32,
        patch_size=8,
        use_mask_token=True,
        use_shared_relative_position_bias=True,
        layer_scale_init_value=0.1,
        use_mean_pooling=True,  # False puts a second norm in front of the head's own
        **kwargs,
    )


def test_equals_hf__masked_shared_bias():
    theirs = randomised(BeitForMaskedImageModeling(hf_config(layer_norm_eps=1e-6)))
    ours = encoder().eval()
    ours.load_state_dict(hf_to_ours(theirs.beit.state_dict()), strict=True)
    x = torch.randn(2, 3, 32, 32)
    mask = torch.rand(2, 4, 4) < 0.4
    reference = theirs(x, bool_masked_pos=mask.flatten(1)).logits
    (tokens,) = ours(x, mask)
    logits = theirs.lm_head(theirs.layernorm(tokens[:, 1:]))
    assert relative_error(logits, reference) < 1e-5


def faint(model):
    """Random, but for embeddings so small that the eps of a norm decides what becomes of them."""
    randomised(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'patch_embed' in name or name.endswith(('cls_token', 'position_embeddings')):
                parameter *= 2e-3
    return model


@pytest.mark.parametrize('eps', [1e-6, 1e-5])
def test_norm_eps__equals_mmseg(tmp_path, eps):
    """Their class without norm_cfg, which has 1e-5, and as their configs have it."""
    norm = {} if eps == 1e-5 else dict(norm_cfg=dict(type='LN', eps=eps))
    sizes = dict(embed_dims=32, num_layers=3, num_heads=2, out_indices=[0, 1, 2])
    theirs = faint(
        BEiT(img_size=32, patch_size=8, init_values=0.1, final_norm=True, **sizes, **norm)
    )
    path = tmp_path / 'mmseg.pth'
    torch.save(dict(state_dict={f'backbone.{n}': t for n, t in theirs.state_dict().items()}), path)
    layers = dict(rel_pos='per_layer', out_type='featmap', out_indices=(0, 1, 2), final_norm=True)
    x = torch.randn(2, 3, 32, 32)
    errors = {}
    for own in (eps, 1e-6 if eps == 1e-5 else 1e-5):
        init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
        ours = encoder(norm_eps=own, init_cfg=init_cfg, **layers)
        ours.init_weights()
        pairs = zip(ours.eval()(x), theirs(x), strict=True)
        errors[own] = [relative_error(map_, reference) for map_, reference in pairs]
    assert max(errors.pop(eps)) < 3e-6
    assert min(errors.popitem()[1]) > 1e-3


@pytest.mark.parametrize('eps', [1e-6, 1e-12])
def test_norm_eps__equals_hf(eps):
    """1e-12 is what BeitConfig has unless something else is said."""
    given = {} if eps == 1e-12 else dict(layer_norm_eps=eps)
    theirs = faint(BeitForMaskedImageModeling(hf_config(**given)))
    x, mask = torch.randn(2, 3, 32, 32), torch.rand(2, 4, 4) < 0.4
    reference = theirs(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)]
    errors = {}
    for own in (1e-6, 1e-12):
        ours, neck = encoder(norm_eps=own).eval(), MaskedPatchNeck(32, norm_eps=own)
        ours.load_state_dict(hf_to_ours(theirs.beit.state_dict()), strict=True)
        neck.norm.load_state_dict(theirs.layernorm.state_dict())
        errors[own] = relative_error(theirs.lm_head(neck(ours(x, mask), mask)), reference)
    assert errors.pop(eps) < 3e-6
    assert errors.popitem()[1] > 1e-3


def test_masked_pixels_do_not_leak():
    model = randomised(encoder())
    x = torch.randn(1, 3, 32, 32)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, 1:3, 1:3] = True
    changed = x.clone()
    changed[:, :, 8:24, 8:24] += 9.0
    assert torch.equal(model(changed, mask)[0], model(x, mask)[0])
    changed[:, :, 0, 0] += 9.0
    assert not torch.equal(model(changed, mask)[0], model(x, mask)[0])


def test_init_statistics():
    model = BEiTEncoder(
        arch=dict(embed_dims=128, num_layers=4, num_heads=4),
        img_size=32,
        patch_size=8,
        abs_pos=True,
    )
    model.init_weights()
    assert model.patch_embed['proj'].weight.abs().max() <= 0.02
    for layer, block in enumerate(model.blocks, start=1):
        for weight, scale in (
            (block.attn.qkv.weight, 1),
            (block.mlp.fc1.weight, 1),
            (block.attn.proj.weight, (2 * layer) ** 0.5),
            (block.mlp.fc2.weight, (2 * layer) ** 0.5),
        ):
            assert (weight * scale).std().item() == pytest.approx(0.0108, rel=0.02)
            assert (weight * scale).abs().max() <= 0.02 + 1e-7
        assert block.gamma_1.eq(0.1).all() and block.attn.proj.bias.eq(0).all()
    assert model.rel_pos_bias.relative_position_bias_table.eq(0).all()
    for token in (model.cls_token, model.mask_token, model.pos_embed):
        assert 0 < token.abs().max() <= 0.02


def test_drop_path__once_and_linear():
    model = encoder(drop_path_rate=0.5, layer_scale_init=None).train()
    assert [block.drop_path.rate for block in model.blocks] == [0.0, 0.25, 0.5]
    block = model.blocks[-1]
    with torch.no_grad():  # a branch of constant 1 each
        for linear in (block.attn.proj, block.mlp.fc2):
            linear.weight.zero_()
            linear.bias.fill_(1.0)
    added = block(torch.zeros(4000, 1, 32))[:, 0, 0]
    assert sorted(set(added.tolist())) == [0.0, 2.0, 4.0]  # none, one or both, each times 1/0.5
    assert added.mean().item() == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize('option', ['attn_drop_rate', 'drop_rate', 'mlp_drop_rate'])
def test_dropout_really_drops(option):
    model = randomised(encoder(**{option: 0.5}))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(x)[0], model(x)[0])
    model.train()
    assert not torch.equal(model(x)[0], model(x)[0])


def test_checkpointing__same_outputs_and_gradients():
    plain, saving = randomised(encoder()).train(), encoder(with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 32, 32)
    for model in (plain, saving):
        model(x)[0].square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if name != 'mask_token':
            assert torch.allclose(a.grad, b.grad, atol=1e-6), name


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('rel_pos', ['shared', 'per_layer'])
def test_every_parameter_gets_a_gradient__with_and_without_mask(masked, rel_pos):
    """DistributedDataParallel stops at the second step if one has none."""
    ours = encoder(rel_pos=rel_pos, abs_pos=True)
    mask = torch.rand(2, 4, 4) < 0.5 if masked else None
    ours(torch.randn(2, 3, 32, 32), mask)[0].square().sum().backward()
    assert [n for n, p in ours.named_parameters() if p.grad is None] == []
    if not masked:
        assert not ours.mask_token.grad.any()


@pytest.mark.parametrize('size', [(32, 32), (16, 48), (40, 24)])
@pytest.mark.parametrize('channels', [1, 3, 5])
def test_any_size_and_channels(size, channels):
    model = encoder(in_channels=channels, abs_pos=True, out_type='featmap', out_indices=(0, -1))
    maps = model.eval()(torch.randn(2, channels, *size))
    assert [m.shape for m in maps] == [(2, 32, size[0] // 8, size[1] // 8)] * 2


def test_featmap__is_the_tokens_in_place():
    tokens = randomised(encoder())
    featmap = encoder(out_type='featmap').eval()
    featmap.load_state_dict(tokens.state_dict())
    x = torch.randn(2, 3, 16, 48)
    image = featmap(x)[0]
    assert torch.equal(image.flatten(2).transpose(1, 2), tokens(x)[0][:, 1:])


def test_final_norm__on_the_last_output_only():
    model = randomised(encoder(final_norm=True, out_indices=(1, 2)))
    raw = encoder(out_indices=(1, 2)).eval()
    raw.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith('norm.')})
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(x)[0], raw(x)[0])
    assert torch.equal(model(x)[1], model.norm(raw(x)[1]))


def test_layer_depth():
    model = encoder(final_norm=True)
    depths = {
        'backbone.cls_token': 0,
        'backbone.patch_embed.proj.weight': 0,
        'backbone.blocks.0.norm1.weight': 1,
        'backbone.blocks.2.mlp.fc2.bias': 3,
        'backbone.rel_pos_bias.relative_position_bias_table': 4,
        'backbone.norm.weight': 4,
        'head.fc.weight': 4,
    }
    for name, depth in depths.items():
        assert model.get_layer_depth(name, 'backbone.') == (depth, 5)


def test_frozen__stays_in_eval_without_gradient():
    model = encoder(frozen=True, drop_path_rate=0.5).train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_user_mistakes():
    with pytest.raises(ValueError, match='arch'):
        encoder(arch='huge')
    with pytest.raises(ValueError, match='missing'):
        encoder(arch=dict(embed_dims=32))
    with pytest.raises(ValueError, match='rel_pos'):
        encoder(rel_pos='both')
    with pytest.raises(ValueError, match='out_indices'):
        encoder(out_indices=3)
    with pytest.raises(ValueError, match='patch_size'):
        encoder()(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match='in_channels=1'):
        encoder()(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match=r'grid=\(4, 4\)'):
        encoder()(torch.zeros(1, 3, 32, 32), torch.zeros(1, 2, 2, dtype=torch.bool))
