import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.models import BEiTV2Neck
from torch import Tensor

from beit_mm.checkpoints.layouts import LAYOUTS
from beit_mm.contracts import UserError
from beit_mm.models import BEiTEncoder, MaskedImageModel, PatchAggregationNeck

ARCH = dict(embed_dims=32, num_layers=4, num_heads=2)
NECK = dict(dims=32, num_heads=2, num_layers=2, early_layer=3, depth=4)
ENCODER = dict(type='beit_mm.BEiTEncoder', arch=ARCH, img_size=32, patch_size=8, out_indices=(2, 3))


def neck(**kwargs) -> PatchAggregationNeck:
    return PatchAggregationNeck(**dict(NECK, **kwargs))


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module.eval()


def model(**kwargs) -> MaskedImageModel:
    """kwargs: other parts, or other settings of the neck."""
    parts = dict(
        tokenizer=dict(
            type='beit_mm.DVAETokenizer', vocab_size=16, stride=8, width=8, num_blocks=1, code_dim=4
        ),
        backbone=ENCODER,
        neck=dict(NECK, type='beit_mm.PatchAggregationNeck'),
        head=dict(type='beit_mm.VisualTokenHead', vocab_size=16, dims=32),
    )
    parts['neck'].update({k: kwargs.pop(k) for k in list(kwargs) if k not in parts})
    return MaskedImageModel(**parts | kwargs)


def batch() -> dict:
    images = torch.rand(2, 3, 32, 32)
    return dict(inputs=images, token_inputs=images, mask=torch.rand(2, 4, 4) < 0.5)


def outputs():
    """Two layers of tokens, a mask and a bias."""
    tokens = torch.randn(2, 17, 32), torch.randn(2, 17, 32)
    return tokens, torch.rand(2, 4, 4) < 0.5, torch.randn(1, 2, 17, 17)


def reference(state: dict, early, last, mask, bias, second='norm'):
    """The same from the paper's figure, on explicit softmax attention."""

    def linear(x, name):
        return x @ state[f'{name}.weight'].T + state[f'{name}.bias']

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
        return x * state[f'{name}.weight'] + state[f'{name}.bias']

    x = torch.cat([last[:, :1], early[:, 1:]], 1)
    for block in ('blocks.0', 'blocks.1'):
        qkv = norm(x, f'{block}.norm1') @ state[f'{block}.attn.qkv.weight'].T
        q, k, v = qkv.chunk(3, -1)
        q, v = q + state[f'{block}.attn.q_bias'], v + state[f'{block}.attn.v_bias']
        heads = []
        for head in range(2):
            part = slice(16 * head, 16 * (head + 1))
            logits = q[..., part] @ k[..., part].transpose(1, 2) / 4 + bias[:, head]
            heads.append(logits.softmax(-1) @ v[..., part])
        attended = linear(torch.cat(heads, -1), f'{block}.attn.proj')
        x = x + state[f'{block}.gamma_1'] * attended
        hidden = F.gelu(linear(norm(x, f'{block}.norm2'), f'{block}.mlp.fc1'))
        x = x + state[f'{block}.gamma_2'] * linear(hidden, f'{block}.mlp.fc2')
    where = mask.flatten(1)
    return norm(last[:, 1:], 'norm')[where], norm(x[:, 1:], second)[where]


def test_equals_an_independent_computation():
    module = randomised(neck())
    (early, last), mask, bias = outputs()
    feats = module((early, last), mask, bias)
    main, aggregation = reference(module.state_dict(), early, last, mask, bias)
    torch.testing.assert_close(feats['main'], main, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(feats['aggregation'], aggregation, atol=1e-4, rtol=1e-4)


def own_head() -> MaskedImageModel:
    return model(shared_head=False)


@torch.no_grad()
def test_own_head__equals_the_original_with_shared_lm_head_false():
    source, data = randomised(own_head()), batch()
    theirs = LAYOUTS['unilm'].from_ours(source.state_dict(), 'pretrain').result
    assert {'cls_pt_norm.weight', 'cls_pt_lm_head.weight', 'cls_pt_lm_head.bias'} <= set(theirs)

    # the original's forward_features and forward, from its own names
    (early, last), bias = source.backbone(data['inputs'], data['mask'], return_bias=True)
    blocks = {n.replace('cls_pt_layers', 'blocks'): t for n, t in theirs.items() if 'cls_pt' in n}
    state = theirs | blocks
    features = reference(state, early, last, data['mask'], bias, second='cls_pt_norm')
    targets = source.targets(data['token_inputs'], data['mask'])
    wanted = [
        F.cross_entropy(rows @ theirs[f'{head}.weight'].T + theirs[f'{head}.bias'], targets)
        for rows, head in zip(features, ('lm_head', 'cls_pt_lm_head'), strict=True)
    ]

    read = own_head().eval()
    state = LAYOUTS['unilm'].to_ours(theirs).result
    lost = read.load_state_dict(state, strict=False)
    assert not lost.unexpected_keys and all(n.startswith('tokenizer.') for n in lost.missing_keys)
    read.tokenizer.load_state_dict(source.tokenizer.state_dict())
    losses = read(**data, mode='loss')
    for name, value in zip(('loss_main', 'loss_aggregation'), wanted, strict=True):
        torch.testing.assert_close(losses[name], value, atol=1e-4, rtol=1e-4)


def test_own_head__the_other_kind_of_checkpoint_is_refused():
    for make, other, said in ((model, own_head, 'False'), (own_head, model, 'True')):
        with pytest.raises(UserError, match=f'shared_head={said}'):
            make().load_state_dict(other().state_dict(), strict=False)
        encoder = {n: t for n, t in other().state_dict().items() if n.startswith('backbone.')}
        make().load_state_dict(encoder, strict=False)  # another start of a training


def test_own_head__gradients_and_weights_of_each_term_alone():
    trained = own_head().train()
    trained.init_weights()
    losses = trained(**batch(), mode='loss')
    losses['loss_aggregation'].backward()
    assert trained.term_heads['aggregation'].proj.weight.grad.any()
    assert trained.head.proj.weight.grad is None and trained.neck.norm.weight.grad is None


def test_equals_mmpretrain():
    # Its arch needs both names of the depth, or its constructor stops.
    arch = dict(embed_dims=32, num_layers=4, depth=4, num_heads=2, feedforward_channels=128)
    theirs = randomised(BEiTV2Neck(2, early_layers=3, backbone_arch=arch))
    names = dict(
        patch_aggregation='blocks', ln1='norm1', ln2='norm2', ffn='mlp', layers='', gamma='gamma'
    )
    state = {}
    for name, value in theirs.state_dict().items():
        name = name.replace('ffn.layers.0.0', 'mlp.fc1').replace('ffn.layers.1', 'mlp.fc2')
        state['.'.join(names.get(part, part) for part in name.split('.'))] = value
    ours = neck().eval()
    ours.load_state_dict(state)
    (early, last), mask, bias = outputs()
    feats = ours((early, last), mask, bias)
    for mine, other in zip(feats.values(), theirs((early, last), bias[0]), strict=True):
        torch.testing.assert_close(mine, other[mask.flatten(1)], atol=1e-5, rtol=1e-5)


def test_later_layers_speak_through_the_class_token_alone():
    module = randomised(neck())
    (early, last), mask, bias = outputs()
    before = module((early, last), mask, bias)
    patches, cls = last.clone(), last.clone()
    patches[:, 1:] += 1.0
    cls[:, 0] += torch.randn(32)
    assert torch.equal(module((early, patches), mask, bias)['aggregation'], before['aggregation'])
    changed = module((early, cls), mask, bias)
    assert torch.equal(changed['main'], before['main'])
    assert not torch.allclose(changed['aggregation'], before['aggregation'])


@pytest.mark.parametrize('early, depth, expected', [(9, 12, (9, 10)), (21, 24, (21, 22))])
def test_drop_path__the_ramp_goes_on(early, depth, expected):
    module = neck(early_layer=early, depth=depth, drop_path_rate=0.1)
    ramp = torch.linspace(0, 0.1, depth).tolist()
    rates = [block.drop_path.rate for block in module.blocks]
    assert rates == pytest.approx([ramp[layer] for layer in expected])


@pytest.mark.parametrize('calls', [0, 1, 2])
def test_init__divided_by_depth_also_after_init_weights(calls):
    module = neck(dims=128, num_heads=2, early_layer=9, depth=12)
    for _ in range(calls):
        module.init_weights()
    for layer, block in zip((10, 11), module.blocks, strict=True):
        for linear, scale in (
            (block.attn.qkv, 1),
            (block.mlp.fc1, 1),
            (block.attn.proj, math.sqrt(2 * layer)),
            (block.mlp.fc2, math.sqrt(2 * layer)),
        ):
            weight = linear.weight * scale
            assert weight.std().item() == pytest.approx(0.0108, rel=0.03)
            assert weight.abs().max() <= 0.02 + 1e-7
        assert not block.mlp.fc1.bias.any()
        assert block.gamma_1.eq(0.1).all()


def test_init__original():
    module = neck(dims=128, num_heads=2, early_layer=9, depth=12, original_init=True)
    module.init_weights()
    for layer, block in zip((10, 11), module.blocks, strict=True):
        bound = 1 / math.sqrt(128)
        assert 0.98 * bound < block.mlp.fc1.weight.abs().max() <= bound
        assert 0.9 * bound < block.mlp.fc1.bias.abs().max() <= bound
        scaled = block.attn.proj.weight.abs().max() * math.sqrt(2 * layer)
        assert 0.98 * bound < scaled <= bound * 1.0001
        assert not block.attn.q_bias.any()


def test_loss__two_terms_through_one_head():
    module = model().train()
    losses = module(**batch(), mode='loss')
    names = [name for name in losses if 'loss' in name]
    assert sorted(names) == ['loss_aggregation', 'loss_main']
    total, _ = module.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_main'] + losses['loss_aggregation'])
    head, extra = module.head.proj.weight, module.neck.blocks[0].mlp.fc1.weight
    for name in names:
        (grad,) = torch.autograd.grad(losses[name], head, retain_graph=True)
        assert grad.abs().sum() > 0, name
    assert torch.autograd.grad(losses['loss_aggregation'], extra, retain_graph=True)[0].any()
    unused = torch.autograd.grad(losses['loss_main'], extra, retain_graph=True, allow_unused=True)
    assert unused == (None,)
    total.backward()
    without = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_loss__the_table_of_the_encoder_learns_from_the_extra_blocks():
    module = model()
    randomised(module.backbone), randomised(module.neck)
    table = module.backbone.rel_pos_bias.relative_position_bias_table
    data = batch()
    both, aggregation = (
        torch.autograd.grad(module(**data, mode='loss')['loss_aggregation'], table)[0]
        for _ in range(2)
    )
    torch.testing.assert_close(both, aggregation)
    tokens, bias = module.backbone(data['inputs'], data['mask'], return_bias=True)
    apart = module.neck(tokens, data['mask'], bias.detach())['aggregation']
    ids = module.encode(data['token_inputs'])[data['mask']]
    (without,) = torch.autograd.grad(module.head.loss(apart, ids)['loss'], table)
    assert not torch.allclose(both, without)


def test_no_tensor_is_left_on_an_attribute():
    module = model().train()
    loss, _ = module.parse_losses(module(**batch(), mode='loss'))
    loss.backward()
    for name, part in module.named_modules():
        left = [k for k, v in vars(part).items() if isinstance(v, Tensor) and v.requires_grad]
        assert left == [], name


def test_encoder__returns_the_bias_it_used_and_is_the_same_without():
    encoder = randomised(BEiTEncoder(ARCH, 32, 8, out_indices=(2, 3)))
    x = torch.rand(1, 3, 16, 32)
    outputs, bias = encoder(x, return_bias=True)
    for one, other in zip(outputs, encoder(x), strict=True):
        assert torch.equal(one, other)
    assert bias.shape == (1, 2, 9, 9) and bias.std() > 0.1
    torch.testing.assert_close(encoder.blocks[3](outputs[0], bias), outputs[1])
    plain = BEiTEncoder(ARCH, 32, 8, rel_pos=None, abs_pos=True)
    assert plain(x, return_bias=True)[1] is None


def test_weight_decay__not_for_norms_and_scales():
    init_default_scope('beit_mm')
    module = model()
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        constructor='BEiTOptimWrapperConstructor',
    )
    groups = build_optim_wrapper(module, cfg).optimizer.param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    for name, parameter in module.neck.named_parameters():
        linear = parameter.ndim == 2
        assert decay[id(parameter)] == (0.05 if linear else 0.0), name


def test_predict__with_the_last_layer():
    module = randomised(model())
    data = batch()
    samples = module(**data, mode='predict')
    tokens = module.backbone(data['inputs'], data['mask'])[-1][:, 1:][data['mask'].flatten(1)]
    logits = module.head.predict(module.neck.norm(tokens))
    pred, target, loss = (
        torch.cat([sample[key] for sample in samples]) for key in ('pred_ids', 'target_ids', 'loss')
    )
    assert torch.equal(pred, logits.argmax(-1))
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, reduction='none'))


def test_finetuning__takes_the_backbone_and_leaves_the_neck(tmp_path):
    module = randomised(model())
    torch.save(dict(state_dict=module.state_dict()), tmp_path / 'beitv2.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'beitv2.pth'), prefix='backbone.')
    tuned = BEiTEncoder(ARCH, 32, 8, rel_pos='per_layer', init_cfg=init_cfg)
    tuned.init_weights()
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(tuned.eval()(x)[-1], module.backbone(x)[-1], atol=1e-5, rtol=1e-5)


def test_training__learns_a_batch_by_both_terms():
    module = model().train()
    data = batch()
    wrapper = OptimWrapper(torch.optim.AdamW(module.parameters(), lr=2e-3))
    history = []
    for _ in range(60):
        losses = module(**data, mode='loss')
        history.append((losses['loss_main'].item(), losses['loss_aggregation'].item()))
        wrapper.update_params(module.parse_losses(losses)[0])
    for start, end in zip(history[0], history[-1], strict=True):
        assert end < 0.5 * start


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(depth=5), 'model.neck.depth=5, but the backbone has 4 layers'),
        (
            dict(early_layer=2),
            r'out_indices=\[2, 3\], but the neck .* set model.backbone.out_indices=\(1, 3\)',
        ),
        (dict(backbone=dict(ENCODER, rel_pos='per_layer')), "found 'tokens' and 'per_layer'"),
        (dict(backbone=dict(ENCODER, out_type='featmap')), "found 'featmap' and 'shared'"),
        (dict(num_heads=4), 'num_heads=4, but the bias of the backbone is for 2 heads'),
        (
            dict(backbone=dict(type='mmpretrain.ResNet', depth=18)),
            'continues a Transformer, found ResNet',
        ),
        (dict(early_layer=4), 'neck.early_layer=4: expected a layer before the last one'),
        (dict(dims=64), r'model.neck.dims=64, but the backbone gives 32 channels'),
    ],
)
def test_parts_that_do_not_fit__named_in_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        model(**wrong)


def test_norm_eps__of_every_norm():
    eps = [m.eps for m in neck(norm_eps=1e-12).modules() if isinstance(m, torch.nn.LayerNorm)]
    assert eps == [1e-12] * 5
    assert {m.eps for m in neck().modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-6}
