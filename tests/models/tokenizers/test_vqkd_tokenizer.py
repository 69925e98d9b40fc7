import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.models import VQKD

from beit_mm.evaluation import TokenizerQuality
from beit_mm.models import FrozenFeatures, MaskedImageModel, VQKDTokenizer
from beit_mm.registry import MODELS
from benchmarks.peers.names import vqkd_from_openmmlab

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2)
SMALL = dict(vocab_size=24, code_dim=6, arch=ARCH, img_size=32, patch_size=8, decoder_layers=1)
ENCODER = dict(type='beit_mm.BEiTEncoder', arch=ARCH, img_size=32, patch_size=8)
TEACHER = dict(type='RandomTeacher', dims=20)


@MODELS.register_module(force=True)
class RandomTeacher(FrozenFeatures):
    """A fixed random projection of the pixels of each patch."""

    def __init__(self, dims: int, patch_size: int = 8):
        super().__init__(dims)
        self.proj = torch.nn.Conv2d(3, dims, patch_size, stride=patch_size)
        self.freeze()

    def featmap(self, images):
        return self.proj(images)


def tokenizer(**kwargs) -> VQKDTokenizer:
    return VQKDTokenizer(**dict(SMALL, **kwargs))


def trainable(**kwargs) -> VQKDTokenizer:
    return tokenizer(teacher=TEACHER, **kwargs)


def snapshot(module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(module, before: dict) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.fixture
def theirs():
    encoder = dict(
        arch=dict(ARCH, feedforward_channels=128),
        img_size=32,
        patch_size=8,
        out_indices=-1,
        final_norm=True,
        out_type='featmap',
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        layer_scale_init_value=0.0,
    )
    model = VQKD(encoder, num_embed=24, embed_dims=6, quantize_kmeans_init=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'quantize' not in name:
                parameter.normal_(std=0.2)
    return model


def test_equals_mmpretrain__tokens_and_one_step_of_the_codes(theirs):
    ours = tokenizer(decay=0.9).train()
    ours.load_state_dict(vqkd_from_openmmlab(theirs.state_dict()))
    images = torch.rand(3, 3, 32, 32)
    theirs.eval()
    ids = ours.encode(images)
    assert torch.equal(ids.flatten(), theirs.encode(2 * images - 1)[1])
    assert len(ids.unique()) > 4

    theirs.train()
    theirs.quantize.decay = 0.9
    quantized, _, commitment = theirs.encode(2 * images - 1)
    codes, _, losses = ours.codebook(ours.vectors(images))
    torch.testing.assert_close(codes.permute(0, 3, 1, 2), quantized)
    torch.testing.assert_close(losses['loss_commit'], commitment)
    torch.testing.assert_close(ours.codebook.weight, theirs.quantize.embedding.weight)


def test_loss__closed_form():
    model = trainable(commitment_weight=0.5, kmeans_iters=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    images = torch.rand(2, 3, 32, 16)
    losses = model.loss(images)

    features = model.encoder(images * 2 - 1)[0].flatten(2).transpose(1, 2)
    z = F.normalize(model.encode_task_layer(features), dim=-1)
    ids = torch.cdist(z, model.codebook.weight).argmin(-1)
    codes = model.codebook.weight[ids]
    assert torch.equal(model.encode(images).flatten(1), ids)
    torch.testing.assert_close(losses['loss_commit'], 0.5 * (codes - z).square().mean())

    decoded = model.decoder(codes.transpose(1, 2).unflatten(2, (4, 2)))[0]
    rebuilt = model.decode_task_layer(decoded.flatten(2).transpose(1, 2))
    mean, std = model.teacher.mean, model.teacher.std
    target = model.teacher.proj((images - mean) / std).flatten(2).transpose(1, 2)
    cosine = (rebuilt * target).sum(-1) / rebuilt.norm(dim=-1) / target.norm(dim=-1)
    torch.testing.assert_close(losses['loss_recon'], (1 - cosine).mean())

    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_recon'] + losses['loss_commit'])
    assert model.latest_ids is None
    model.train().loss(images)
    assert torch.equal(model.latest_ids.flatten(1), ids)


def test_loss__every_parameter_has_a_gradient():
    model = trainable().train()
    total, _ = model.parse_losses(model.loss(torch.rand(4, 3, 32, 32)))
    total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_training__reconstructs_the_teacher_of_one_batch():
    images = F.interpolate(torch.rand(4, 3, 4, 4), scale_factor=8)  # one color for each patch
    model = trainable(vocab_size=64).train()
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=3e-3))
    teacher = snapshot(model.teacher)
    history = []
    for _ in range(80):
        losses = model.loss(images)
        history.append(losses['loss_recon'].item())
        wrapper.update_params(model.parse_losses(losses)[0])
    assert history[-1] < 0.1 * history[0]
    assert unchanged(model.teacher, teacher)
    assert len(model.latest_ids.unique()) > 16


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_encode__of_a_model_in_another_precision(dtype):
    model = tokenizer().eval()
    images = torch.rand(16, 3, 16, 16)
    ids = model.encode(images)
    assert (model.to(dtype).encode(images.to(dtype)) == ids).double().mean() > 0.9


def test_posterior__softmax_of_the_cosines():
    model = tokenizer().eval()
    images = torch.rand(4, 3, 16, 16)
    cosines = F.cosine_similarity(model.vectors(images)[..., None, :], model.code_vectors(), dim=-1)
    posterior = model.posterior(images)
    torch.testing.assert_close(posterior, (cosines / 0.1).softmax(-1))
    assert torch.equal(posterior.argmax(-1), model.encode(images))


def test_teacher__in_no_optimizer_and_no_state_dict_but_on_the_same_device():
    model = trainable()
    owned = {id(parameter) for parameter in model.parameters()}
    assert not owned & {id(parameter) for parameter in model.teacher.parameters()}
    assert not any('teacher' in name or 'proj.' in name[:5] for name in model.state_dict())
    model.double().train()
    assert model.teacher.proj.weight.dtype == model.teacher.mean.dtype == torch.float64
    assert not model.teacher.training
    with torch.device('meta'):
        moved = trainable()
    moved.to_empty(device='cpu')
    assert moved.teacher.proj.weight.device.type == 'cpu'
    clone = copy.deepcopy(model)
    assert clone.teacher is not model.teacher


@pytest.mark.parametrize('constructor', [None, 'BEiTOptimWrapperConstructor'])
def test_optimizer__codes_and_teacher_are_absent_and_norms_not_decayed(constructor):
    init_default_scope('beit_mm')
    model = trainable()
    cfg = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1))
    if constructor:
        cfg['constructor'] = constructor
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    assert set(decay) == {id(parameter) for parameter in model.parameters()}
    if constructor:
        for name in ('encoder.norm.weight', 'encoder.cls_token', 'decoder.pos_embed'):
            assert decay[id(model.get_parameter(name))] == 0, name
        assert decay[id(model.encode_task_layer[0].weight)] == 0.1


def test_checkpoint_of_a_training__is_a_tokenizer_without_teacher(tmp_path):
    trained = trainable().train()
    images = torch.rand(2, 3, 32, 32)
    trained.loss(images)
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'vqkd.pth')
    frozen = tokenizer(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vqkd.pth')))
    frozen.init_weights()
    assert torch.equal(frozen.encode(images), trained.encode(images))
    frozen.load_state_dict(trained.state_dict(), strict=True)
    assert not any(name.startswith('decode') for name in frozen.state_dict())
    wrong = dict(trained.state_dict(), other=torch.zeros(1))
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "other"'):
        frozen.load_state_dict(wrong)
    with pytest.raises(ValueError, match='model.teacher is None'):
        frozen.loss(images)


def test_frozen_in_pretraining__bit_identical_after_steps():
    model = MaskedImageModel(
        tokenizer=dict(SMALL, type='beit_mm.VQKDTokenizer', teacher=TEACHER),
        backbone=ENCODER,
        neck=dict(type='beit_mm.MaskedPatchNeck', dims=32),
        head=dict(type='beit_mm.VisualTokenHead', vocab_size=24, dims=32),
    )
    before, teacher = snapshot(model.tokenizer), snapshot(model.tokenizer.teacher)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.1))
    model.train()
    for _ in range(3):
        images = torch.rand(2, 3, 32, 32)
        losses = model(images, images, torch.rand(2, 4, 4) < 0.5, mode='loss')
        wrapper.update_params(model.parse_losses(losses)[0])
    model.tokenizer.train().encode(images)  # even in the wrong mode
    assert unchanged(model.tokenizer, before) and unchanged(model.tokenizer.teacher, teacher)


def test_init__as_the_original_and_kept_by_init_weights():
    torch.manual_seed(3)
    model = VQKDTokenizer(
        16, 8, dict(embed_dims=128, num_layers=3, num_heads=4), 32, 8, teacher=TEACHER
    )
    before = snapshot(model)
    model.init_weights()
    assert unchanged(model, before)
    for layer, block in enumerate(model.encoder.blocks, start=1):
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.03)
        for linear in (block.attn.proj, block.mlp.fc2):
            assert linear.weight.std().item() == pytest.approx(0.02 / (2 * layer) ** 0.5, rel=0.03)
    bound = (3 * 8 * 8) ** -0.5  # PyTorch's own init of a convolution
    assert bound * 0.95 < model.encoder.patch_embed['proj'].weight.abs().max() <= bound
    assert len(model.decoder.blocks) == 3 and model.decoder.pos_embed.shape == (1, 17, 128)


@pytest.mark.parametrize('size', [(32, 32), (16, 48), (64, 40)])
def test_encode__any_size(size):
    model = trainable()
    ids = model.encode(torch.rand(2, 3, *size))
    assert ids.shape == (2, size[0] // 8, size[1] // 8)
    assert ids.dtype == torch.long and 0 <= ids.min() and ids.max() < 24
    assert model.loss(torch.rand(2, 3, *size))['loss_recon'].isfinite()


def test_encode__refuses_other_sizes_and_channels():
    with pytest.raises(ValueError, match='stride=8 does not divide the images of 36 x 32'):
        tokenizer().encode(torch.rand(1, 3, 36, 32))
    with pytest.raises(ValueError, match='in_channels=3, but the images have 1 channels'):
        tokenizer().encode(torch.rand(1, 1, 32, 32))


def test_vectors__float32_under_autocast():
    with torch.autocast('cpu', torch.bfloat16):
        assert tokenizer().vectors(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_quality__codes_without_reconstructions():
    model = tokenizer().eval()
    assert not model.can_decode
    images = torch.rand(3, 3, 32, 32)
    samples = model(images, mode='predict')
    assert torch.equal(torch.stack([sample['ids'] for sample in samples]), model.encode(images))
    metric = TokenizerQuality(vocab_size=24)
    metric.process(None, samples)
    result = metric.compute_metrics(metric.results)
    assert not {'psnr', 'l1', 'ssim'} & set(result)
    assert result['codes_used'] == len(model.encode(images).unique())


def test_reset_dead_codes__dead_codes_go_to_vectors_of_the_batch_and_none_by_default():
    images = torch.rand(4, 3, 32, 32)
    for reset_dead_codes, moves in ((dict(interval=2, min_tokens=1), True), (None, False)):
        model = trainable(vocab_size=16, decay=1.0, reset_dead_codes=reset_dead_codes).train()
        for step in range(2):
            model.loss(images)  # its codes are started by the first step
            if step == 0:
                used = model.encode(images).unique()
                dead = torch.ones(16, dtype=torch.bool).scatter(0, used, False)
                dead[used[0]] = True  # one at least
                if moves:
                    model.codebook.dead_code_reset.counts[:, used[0]] = 0
                before = model.codebook.weight.clone()
                z = F.normalize(model.vectors(images).detach(), dim=-1).flatten(0, 2)
        after = model.codebook.weight
        torch.testing.assert_close(after[~dead], before[~dead])
        assert torch.allclose(after[dead], before[dead]) is not moves
        nearest = torch.cdist(after[dead], z).amin(1)
        assert not moves or nearest.max() < 1e-3


def test_images_outside_of_the_unit_range__refused():
    with pytest.raises(ValueError, match=r'takes images in \[0, 1\].*token_scale'):
        tokenizer().encode(255 * torch.rand(1, 3, 16, 16))
