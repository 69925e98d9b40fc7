import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner

from beit_mm.checkpoints import IncompleteCheckpointError
from beit_mm.contracts import UserError
from beit_mm.contracts.derived import facts_of_backbone, facts_of_target, with_derived
from beit_mm.engine import BEiTOptimWrapperConstructor
from beit_mm.models import BEiTEncoder, MaskedPatchNeck
from beit_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
TINY = dict(embed_dims=32, num_layers=2, num_heads=2)
PIXELS = dict(type='PatchPixels', patch_size=8)
FOREIGN = dict(type='mmpretrain.BEiTViT', arch='deit-tiny', img_size=32, patch_size=8)
PREPROCESSOR = dict(type='TwoViewDataPreprocessor', mean=[127.5], std=[127.5])


def config(vocab_size=16, arch=TINY, tokenizer=(), backbone=(), neck=(), head=(), **own) -> dict:
    """Patches of 8 pixels in a 32-pixel view, tokens of 4 pixels in a 16-pixel view."""
    dims = arch['embed_dims']
    parts = dict(
        tokenizer=dict(
            type='DVAETokenizer',
            vocab_size=vocab_size,
            stride=4,
            width=8,
            num_blocks=1,
            code_dim=4,
            logit_scale=3.0,
        ),
        backbone=dict(type='BEiTEncoder', arch=arch, img_size=32, patch_size=8),
        neck=dict(type='MaskedPatchNeck', dims=dims),
        head=dict(type='VisualTokenHead', vocab_size=vocab_size, dims=dims),
    )
    changes = dict(tokenizer=tokenizer, backbone=backbone, neck=neck, head=head)
    return dict(
        type='MaskedImageModel',
        data_preprocessor=PREPROCESSOR,
        **own,
        **{name: dict(part, **dict(changes[name])) for name, part in parts.items()},
    )


def build(**kwargs):
    """A model whose random tokenizer has BatchNorm statistics, so that it uses many tokens."""
    model = MODELS.build(config(**kwargs))
    model.tokenizer.train()
    with torch.no_grad():
        for _ in range(20):
            vectors = model.tokenizer.vectors(colors(4, (4, 4), pixels=4) / 255)
            model.tokenizer.quantizer.logits(vectors)
    model.tokenizer.eval()
    return model


def colors(size, grid, pixels):
    """uint8 images, a random color for each patch."""
    images = torch.randint(256, (size, 3, *grid), dtype=torch.uint8)
    return images.repeat_interleave(pixels, 2).repeat_interleave(pixels, 3)


def raw_batch(size=4, grid=(4, 4), masked=0.5) -> dict:
    """What the dataloader gives."""
    return dict(
        inputs=colors(size, grid, pixels=8),
        token_inputs=colors(size, grid, pixels=4),
        mask=torch.rand(size, *grid) < masked,
    )


def batch_of(model, **kwargs) -> dict:
    """What the data preprocessor makes of it."""
    return model.data_preprocessor(raw_batch(**kwargs), training=True)


def adamw(model, type='OptimWrapper', **kwargs):
    optimizer = dict(dict(type='AdamW', lr=1e-3, weight_decay=0.05), **kwargs)
    return BEiTOptimWrapperConstructor(dict(type=type, optimizer=optimizer))(model)


def state(module) -> dict:
    """Parameters and all buffers, those that aren't saved among them."""
    return {
        name: tensor.detach().clone()
        for tensors in (module.named_parameters(), module.named_buffers())
        for name, tensor in tensors
    }


def changed(before: dict, module) -> list[str]:
    after = state(module)
    assert before.keys() == after.keys()
    return [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]


# ---- what a fresh model is ----


@pytest.mark.parametrize('vocab_size', [16, 8192])
def test_initial_loss__is_ln_of_the_vocabulary(vocab_size):
    model = build(vocab_size=vocab_size)
    loss = model(**batch_of(model), mode='loss')['loss'].item()
    assert loss == pytest.approx(math.log(vocab_size), rel=0.02)


def test_number_of_parameters__of_beit_base():
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/beit_base-p16.py').model
    with torch.device('meta'):
        parts = dict(backbone=MODELS.build(cfg.backbone))
        known = facts_of_backbone(parts['backbone']) | facts_of_target(cfg.tokenizer, MODELS)
        for name in ('neck', 'head'):
            parts[name] = MODELS.build(with_derived(name, cfg[name], MODELS, known))
    number = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    assert number['head'] == 6_299_648
    assert sum(number.values()) == 91_965_776


@pytest.mark.parametrize(
    'part, changes, message',
    [
        ('head', dict(tokenizer=dict(type='FeatureTarget', stride=8, features=PIXELS)), 'no token'),
        ('head', dict(head=dict(type='FeatureRegressionHead')), 'no continuous targets'),
        ('neck', dict(backbone=FOREIGN, neck=dict(type='PatchAggregationNeck')), 'not derive'),
        ('neck', dict(backbone=FOREIGN), 'not derive'),
        ('tokenizer', dict(tokenizer=dict(type='DVAETokenizr')), 'DVAETokenizr'),
        ('tokenizer', dict(tokenizer=dict(type='KMeansTokenizer', features=PIXELS)), 'KMeans'),
        ('tokenizer', dict(tokenizer=dict(type='DVAETokenizer', vocab_size='abc')), 'vocab_size'),
    ],
)
def test_value_that_follows_from_nothing__its_part_is_named(part, changes, message):
    parts = config()
    for name in ('neck', 'head'):
        parts[name] = dict(type=parts[name]['type'])
    for name, change in changes.items():
        parts[name] = change
    with pytest.raises((UserError, KeyError, TypeError), match=message) as error:
        MODELS.build(parts)
    assert (f'model.{part}.' in str(error.value)) == (part != 'tokenizer')


class NeckOfItsOwn(MaskedPatchNeck):
    derived = ('dims', 'speed')

    def __init__(self, dims, speed=3):
        super().__init__(dims)
        self.speed = speed


def test_value_that_no_part_says__keeps_its_default():
    assert build(neck=dict(type=NeckOfItsOwn)).neck.speed == 3


# ---- what may know what ----


def test_masked_pixels__reach_neither_features_nor_logits():
    model = build(backbone=dict(layer_scale_init=None)).eval()
    batch = batch_of(model)
    batch['mask'][0] = False
    batch['mask'][0, 1:3, 1:3] = True
    pixels = batch['mask'].repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    other = dict(batch, inputs=batch['inputs'] + 9 * pixels * torch.randn_like(batch['inputs']))
    seen = []
    model.head.proj.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    assert torch.equal(model(**batch)[-1], model(**other)[-1])
    for one in (batch, other):
        model(**one, mode='loss')
    assert torch.equal(seen[0], seen[1])

    at = tuple((~batch['mask']).nonzero()[0])
    other['inputs'][at[0], :, at[1] * 8, at[2] * 8] += 9
    assert not torch.equal(model(**batch)[-1], model(**other)[-1])


def test_images_of_a_batch__do_not_know_each_other():
    model = build().eval()
    batch = batch_of(model)
    together = model.forward(**batch, mode='predict')
    for i, sample in enumerate(together):
        (alone,) = model.forward(**{k: v[i : i + 1] for k, v in batch.items()}, mode='predict')
        assert torch.equal(sample['target_ids'], alone['target_ids'])
        torch.testing.assert_close(sample['loss'], alone['loss'])


def test_tokens__come_from_the_second_view_alone():
    model = build().eval()
    batch = batch_of(model)
    brighter = dict(batch, inputs=batch['inputs'] + 1)
    darker = dict(batch, token_inputs=batch['token_inputs'].flip(-1))
    before, same, other = (
        torch.cat([s['target_ids'] for s in model(**b, mode='predict')])
        for b in (batch, brighter, darker)
    )
    assert torch.equal(before, same)
    assert not torch.equal(before, other)


def test_projection__sees_the_masked_patches_only():
    model = build()
    batch = batch_of(model)
    rows = []
    model.head.proj.register_forward_hook(lambda module, args, out: rows.append(args[0].shape))
    model(**batch, mode='loss')
    model(**batch, mode='predict')
    masked = int(batch['mask'].sum())
    assert 0 < masked < batch['mask'].numel()
    assert rows == [(masked, 32)] * 2


def test_predict__equals_a_loop_over_images_and_patches():
    model = build().eval()
    with torch.no_grad():
        for parameter in (*model.neck.parameters(), *model.head.parameters()):
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    batch = batch_of(model, grid=(3, 5))
    samples = model(**batch, mode='predict')
    assert len(samples) == 4
    for i, sample in enumerate(samples):
        mask = batch['mask'][i]
        assert torch.equal(sample['mask'], mask)
        tokens = model.backbone(batch['inputs'][i : i + 1], mask[None])[-1][0]
        ids = model.tokenizer.encode(batch['token_inputs'][i : i + 1])[0]
        places = [(y, x) for y in range(3) for x in range(5) if mask[y, x]]
        assert len(sample['loss']) == len(places)
        for m, (y, x) in enumerate(places):
            feat = tokens[1 + 5 * y + x]
            feat = (feat - feat.mean()) / (feat.var(unbiased=False) + 1e-6).sqrt()
            feat = feat * model.neck.norm.weight + model.neck.norm.bias
            logits = model.head.proj.weight @ feat + model.head.proj.bias
            assert sample['target_ids'][m] == ids[y, x]
            assert sample['pred_ids'][m] == logits.argmax()
            loss = logits.exp().sum().log() - logits[ids[y, x]]
            torch.testing.assert_close(sample['loss'][m], loss, atol=1e-4, rtol=1e-4)


def test_loss__is_the_mean_of_the_predicted_losses():
    model = build().eval()
    batch = batch_of(model)
    losses = torch.cat([sample['loss'] for sample in model(**batch, mode='predict')])
    torch.testing.assert_close(model(**batch, mode='loss')['loss'], losses.mean())


def test_latest_ids__are_the_targets_of_a_training_step_alone():
    model = build()
    batch = batch_of(model)
    model.eval()(**batch, mode='loss')
    assert model.latest_ids is None
    model.train()(**batch, mode='loss')
    expected = model.encode(batch['token_inputs'])[batch['mask']]
    assert torch.equal(model.latest_ids, expected)


# ---- the frozen tokenizer ----


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_tokenizer__bit_identical_after_training_steps(wrapper):
    model = build()
    optim_wrapper = adamw(model, wrapper, lr=1e-2)
    tokenizer, rest = state(model.tokenizer), state(model.backbone)
    assert {'quantizer.codebook', 'quantizer.logit_norm.running_mean'} <= tokenizer.keys()
    convolved = []
    model.tokenizer.encoder[0].register_forward_hook(lambda m, args, out: convolved.append(out))
    model.train()
    for _ in range(3):
        model.train_step(raw_batch(), optim_wrapper)
    assert changed(tokenizer, model.tokenizer) == []
    assert len(changed(rest, model.backbone)) > len(rest) / 2
    assert all(parameter.grad is None for parameter in model.tokenizer.parameters())
    assert all(out.dtype == torch.float32 and not out.requires_grad for out in convolved)
    assert len(convolved) == 3


def test_tokenizer__has_no_graph_even_if_its_parameters_are_thawed():
    model = build().requires_grad_(True)
    convolved = []
    model.tokenizer.encoder[0].register_forward_hook(lambda m, args, out: convolved.append(out))
    loss, _ = model.parse_losses(model(**batch_of(model), mode='loss'))
    loss.backward()
    assert not convolved[0].requires_grad
    assert all(parameter.grad is None for parameter in model.tokenizer.parameters())


def test_tokenizer__is_not_in_the_optimizer_and_all_else_is():
    model = build()
    groups = adamw(model).optimizer.param_groups
    optimized = {id(parameter) for group in groups for parameter in group['params']}
    names = {name.split('.')[0] for name, p in model.named_parameters() if id(p) in optimized}
    assert names == {'backbone', 'neck', 'head'}
    missing = [n for n, p in model.named_parameters() if id(p) not in optimized]
    assert missing and all(name.startswith('tokenizer.') for name in missing)


class WatchTokenizer(Hook):
    """The modules of the tokenizer that are in train mode, at each step of training."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, *args, **kwargs):
        modules = runner.model.tokenizer.named_modules()
        training = [name for name, module in modules if module.training]
        self.seen.append((runner.model.backbone.training, training))


def test_tokenizer__stays_frozen_through_a_runner(tmp_path):
    model = build()
    samples = [{k: v[0] for k, v in raw_batch(size=1).items()} for _ in range(4)]
    loader = dict(
        dataset=samples,
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    watch = WatchTokenizer()
    before = state(model.tokenizer)
    runner = Runner(
        model,
        work_dir=str(tmp_path),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=4, val_interval=1),
        val_cfg=dict(),
        val_evaluator=dict(type='MaskedTokenAccuracy'),
        optim_wrapper=dict(
            constructor='BEiTOptimWrapperConstructor', optimizer=dict(type='AdamW', lr=1e-3)
        ),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[watch],
        default_scope='beit_mm',
        experiment_name='frozen_tokenizer',
        log_level='ERROR',
    )
    runner.train()
    assert watch.seen == [(True, [])] * 4
    assert changed(before, model.tokenizer) == []


def test_encode__same_ids_under_autocast():
    model = build()
    images = colors(32, (8, 8), pixels=4) / 255
    expected = model.encode(images)
    assert len(expected.unique()) > 4
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(model.encode(images), expected)
        lower = model.tokenizer.encode(images)
    assert not torch.equal(lower, expected)  # which is what the full precision prevents


def test_tokenizer_dtype__is_that_of_the_tokenizer_alone_and_in_the_key_of_its_tokens():
    model = build()
    images = colors(32, (8, 8), pixels=4) / 255
    with torch.autocast('cpu', torch.bfloat16):
        expected = model.tokenizer.encode(images)
    lower = build(tokenizer_dtype='bfloat16')
    lower.load_state_dict(model.state_dict())
    assert torch.equal(lower.encode(images), expected)
    assert not torch.equal(model.encode(images), expected)
    assert model.backbone(images)[0].dtype == lower.backbone(images)[0].dtype == torch.float32
    assert model.cached_tokens.sha256() != lower.cached_tokens.sha256()
    assert build(tokenizer_dtype=None).cached_tokens.config == model.cached_tokens.config
    with pytest.raises(UserError, match='model.tokenizer_dtype=.bf16.: expected one of .None'):
        build(tokenizer_dtype='bf16')


def test_init_weights__loads_the_tokenizer_of_another_model_or_refuses(tmp_path):
    trained = build()
    path = tmp_path / 'mim.pth'
    torch.save(dict(state_dict=trained.state_dict()), path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='tokenizer.')
    model = MODELS.build(config(tokenizer=dict(init_cfg=init_cfg)))
    model.init_weights()
    for name, tensor in trained.tokenizer.state_dict().items():
        assert torch.equal(model.tokenizer.state_dict()[name], tensor), name
    assert not any(p.requires_grad for p in model.tokenizer.parameters())

    del init_cfg['prefix']
    model = MODELS.build(config(tokenizer=dict(init_cfg=init_cfg)))
    with pytest.raises(IncompleteCheckpointError, match="prefix='tokenizer.' in init_cfg"):
        model.init_weights()


def test_init_weights__warns_of_a_random_tokenizer(monkeypatch):
    said = []
    monkeypatch.setattr(
        'beit_mm.contracts.errors.print_log', lambda text, **kwargs: said.append(text)
    )
    MODELS.build(config()).init_weights()
    assert len(said) == 1 and 'model.tokenizer has no init_cfg' in said[0]


# ---- gradients ----


@pytest.mark.parametrize(
    'backbone',
    [
        dict(),
        dict(rel_pos='per_layer', abs_pos=True, final_norm=True),
        dict(rel_pos=None, abs_pos=True, layer_scale_init=None),
        dict(with_cp=True, layer_scale_init=1e-5),
    ],
)
def test_every_parameter__has_a_gradient(backbone):
    model = build(backbone=backbone).train()
    optim_wrapper = adamw(model)
    for _ in range(2):
        optim_wrapper.zero_grad()
        loss, _ = model.parse_losses(model(**batch_of(model), mode='loss'))
        loss.backward()
        optim_wrapper.step()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (
            parameter.grad is None
            or not parameter.grad.isfinite().all()
            or not parameter.grad.any()
        )
    ]
    assert without == []
    assert model.head.proj.weight.grad.any(1).all()  # each token's row


@pytest.mark.parametrize(
    'backbone, steps',
    [
        (dict(), 300),  # the bias by which masked patches differ has to be found first
        (dict(rel_pos=None, abs_pos=True, layer_scale_init=None), 60),
    ],
)
def test_one_batch__can_be_overfitted(backbone, steps):
    arch = dict(embed_dims=64, num_layers=2, num_heads=4)
    model = build(arch=arch, backbone=backbone).train()
    optim_wrapper = adamw(model, lr=3e-3)
    batch = raw_batch()
    targets = torch.cat([s['target_ids'] for s in model.val_step(batch)])
    assert targets.bincount().max() < 0.7 * len(targets)  # one answer to all isn't enough
    for _ in range(steps):
        logs = model.train_step(batch, optim_wrapper)
    assert logs['acc'] > 90


def empty_masks(which) -> dict:
    batch = raw_batch()
    batch['mask'][which] = False
    return batch


def test_empty_mask__one_image_adds_nothing():
    model = build().eval()
    batch = model.data_preprocessor(empty_masks(0))
    samples = model(**batch, mode='predict')
    assert [len(s['loss']) for s in samples] == batch['mask'].flatten(1).sum(1).tolist()
    assert len(samples[0]['pred_ids']) == 0
    rest = {name: tensor[1:] for name, tensor in batch.items()}
    torch.testing.assert_close(
        model(**batch, mode='loss')['loss'], model(**rest, mode='loss')['loss']
    )


def test_empty_mask__of_all_images_gives_zero_loss_and_gradients():
    model = build()
    batch = model.data_preprocessor(empty_masks(slice(None)))
    logs = model(**batch, mode='loss')
    loss, _ = model.parse_losses(logs)
    loss.backward()
    assert loss == 0 and all(value.isfinite() for value in logs.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and not parameter.grad.any(), name
    assert [len(s['loss']) for s in model(**batch, mode='predict')] == [0] * 4


@pytest.fixture
def process_group():
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.distributed
def test_ddp__every_parameter_takes_part_in_every_step(process_group):
    """DDP refuses the next step where a parameter had no part in the last one's loss."""
    ddp = MMDistributedDataParallel(build(), find_unused_parameters=False)
    optim_wrapper = adamw(ddp)
    before = state(ddp.module.backbone)
    for batch in (empty_masks(slice(None)), empty_masks(0), raw_batch(masked=2), raw_batch()):
        logs = ddp.train_step(batch, optim_wrapper)
        assert logs['loss'].isfinite()
    assert changed(before, ddp.module.backbone)


# ---- other sizes ----


@pytest.mark.parametrize('grid', [(4, 4), (6, 6), (2, 5), (7, 3)])
def test_size_at_run_time__is_the_size_at_load_time(grid):
    small = build(backbone=dict(abs_pos=True)).eval()
    with torch.no_grad():
        for parameter in small.backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    size = [8 * side for side in grid]
    big = build(backbone=dict(abs_pos=True, img_size=size)).eval()
    big.load_state_dict(small.state_dict())
    batch = batch_of(small, grid=grid)
    ours, theirs = (model(**batch, mode='predict') for model in (small, big))
    for a, b, mask in zip(ours, theirs, batch['mask'], strict=True):
        assert len(a['loss']) == mask.sum()
        assert torch.equal(a['target_ids'], b['target_ids'])
        torch.testing.assert_close(a['loss'], b['loss'], atol=1e-4, rtol=1e-4)
    losses = small.train()(**batch, mode='loss')
    losses['loss'].backward()
    assert small.backbone.rel_pos_bias.relative_position_bias_table.grad.any()


# ---- what a user can get wrong ----


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(head=dict(vocab_size=32)), r'head.vocab_size=32, .*tokenizer.vocab_size=16.*equal'),
        (dict(neck=dict(dims=48)), r'model.neck.dims=48, .* 32 channels; set model.neck.dims=32'),
        (dict(head=dict(dims=48)), r'model.head.dims=48, .* 32 channels; set model.head.dims=32'),
    ],
)
def test_parts_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config(**wrong))


def gray(batch):
    batch['token_inputs'] = batch['token_inputs'][:, :1]


def bytes_for_floats(batch):
    batch['token_inputs'] = (batch['token_inputs'] * 255).byte()


def resized_tokens(batch):
    batch['token_inputs'] = torch.rand(4, 3, 32, 24)


def undivided_tokens(batch):
    batch['token_inputs'] = torch.rand(4, 3, 18, 16)


def other_mask(batch):
    batch['mask'] = torch.ones(4, 2, 2, dtype=torch.bool)


def flat_mask(batch):
    batch['mask'] = batch['mask'].flatten(1)


def integer_mask(batch):
    batch['mask'] = batch['mask'].long()


def no_mask(batch):
    del batch['mask']


def no_tokens(batch):
    del batch['token_inputs']


@pytest.mark.parametrize('mode', ['loss', 'predict'])
@pytest.mark.parametrize(
    'spoil, message',
    [
        (gray, r'tokenizer.in_channels=3, .* 1 channels; use a tokenizer .*in_channels=1'),
        (bytes_for_floats, r"torch.uint8 .*set data_preprocessor=dict\(type='TwoViewData"),
        (resized_tokens, r'8 x 6 tokens .* 4 x 4 .*stride=4 set token_size=\(16, 16\) in TwoView'),
        (undivided_tokens, r'stride=4 does not divide the images of 18 x 16'),
        (other_mask, r'\(2, 2\) patches.* \(4, 4\) of patch_size=8; set grid=\(4, 4\) in the pip'),
        (flat_mask, r'mask is torch.bool of shape \(4, 16\): expected torch.bool \(B, h, w\)'),
        (integer_mask, r'mask is torch.int64 .* expected torch.bool \(B, h, w\), .*PackMIMInputs'),
        (no_mask, r"no mask; put a mask transform, for example dict\(type='BlockwiseMask'"),
        (no_tokens, r"no token_inputs; set token_size in the pipeline's TwoViewResizedCrop"),
    ],
)
def test_batches_that_do_not_fit(spoil, message, mode):
    model = build()
    batch = batch_of(model)
    spoil(batch)
    with pytest.raises(ValueError, match=message):
        model(**batch, mode=mode)


def test_mode__unknown():
    model = build()
    with pytest.raises(ValueError, match=r"mode='train': expected 'tensor', 'loss' or 'predict'"):
        model(**batch_of(model), mode='train')


def test_featmap_backbone__is_told_to_give_tokens():
    model = build(backbone=dict(out_type='featmap'))
    with pytest.raises(ValueError, match=r"set model.backbone.out_type='tokens'"):
        model(**batch_of(model), mode='loss')


def test_tensor_mode__gives_features_without_mask_and_tokens():
    model = build().eval()
    images = torch.randn(2, 3, 32, 32)
    assert isinstance(model.backbone, BEiTEncoder)
    assert torch.equal(model(images)[-1], model.backbone(images)[-1])
