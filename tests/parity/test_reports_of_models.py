"""Public reports on models and checkpoints: each situation made anew, and what becomes of it."""

import math

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.runner import load_checkpoint
from public_reports import error, report, right

from beit_mm.checkpoints import IncompleteCheckpointError, LoadReport, read_checkpoint
from beit_mm.checkpoints.store import newest_valid, open_atomically
from beit_mm.contracts import Tokenizer, UserError
from beit_mm.datasets.transforms import BlockwiseMask
from beit_mm.engine.optim_wrappers import BEiTOptimWrapperConstructor
from beit_mm.models import BEiTEncoder, MaskedImageModel
from beit_mm.models.quantizers.gumbel_quantizer import kl_to_uniform
from beit_mm.registry import MODELS

ARCH = dict(embed_dims=24, num_layers=2, num_heads=12)


class Bright(Tokenizer):
    """Tokens by the brightness of a patch, and no parameter."""

    def __init__(self):
        super().__init__(vocab_size=8, stride=8)

    def encode(self, images):
        return (F.avg_pool2d(images.mean(1, keepdim=True), 8)[:, 0] * 8).long().clamp(0, 7)


def encoder(img_size=32, patch_size=8, **settings):
    """An encoder whose position tables matter."""
    module = BEiTEncoder(ARCH, img_size=img_size, patch_size=patch_size, **settings).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(std=1.0 if name.endswith('table') else 0.2)
    return module


def mim(**backbone):
    settings = dict(arch=ARCH, img_size=32, patch_size=8, **backbone)
    return MaskedImageModel(
        tokenizer=dict(type=Bright),
        backbone=dict(type='BEiTEncoder', **settings),
        neck=dict(type='MaskedPatchNeck', dims=24),
        head=dict(type='VisualTokenHead', vocab_size=8, dims=24),
    )


def batch(share=0.4):
    return dict(
        inputs=torch.randn(2, 3, 32, 32),
        token_inputs=torch.rand(2, 3, 32, 32),
        mask=torch.rand(2, 4, 4) < share,
    )


def saved(state, path):
    torch.save(dict(state_dict=state), path)
    return str(path)


# ---- Position tables ----


@report('czczup/ViT-Adapter#189', 'A bias table of 224 pixels does not fit a model of 512')
def test_bias_table__of_another_image_size():
    small = encoder(224, 16, rel_pos='per_layer')
    large = encoder(512, 16, rel_pos='per_layer')
    name = 'blocks.0.attn.relative_position_bias_table'
    assert small.state_dict()[name].shape == (732, 12)
    large.load_state_dict(small.state_dict())
    old, new = (model.state_dict()[name] for model in (small, large))
    assert new.shape == (3972, 12) and torch.equal(new[-3:], old[-3:])
    assert torch.allclose(new[31 * 63 + 31], old[13 * 27 + 13], atol=1e-5)  # no offset
    return right('the tables are resized as they are loaded, 732 to 3972 rows')


@report('czczup/ViT-Adapter#7', 'An image of another size than the model was built for')
def test_image__smaller_than_the_model():
    large, small = (encoder(size, rel_pos='per_layer') for size in (64, 32))
    small.load_state_dict(large.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(large(x)[0], small(x)[0], atol=1e-5)
    return right('the tables are read for the patches that there are')


@report('microsoft/unilm#871', 'A crop of segmentation that is not square')
def test_crop__of_16_by_24_patches():
    model = encoder(64, rel_pos='per_layer', out_type='featmap')
    wide = encoder((32, 48), rel_pos='per_layer', out_type='featmap')
    wide.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 32, 48)
    assert model(x)[-1].shape[-2:] == (4, 6)
    assert torch.allclose(model(x)[-1], wide(x)[-1], atol=1e-5)
    return right('any height and width of whole patches')


@report('microsoft/unilm#1296', 'Position embeddings of 224 pixels in a model of 480')
def test_position_embeddings__of_another_image_size():
    small, large = (encoder(size, 16, abs_pos=True) for size in (224, 480))
    large.load_state_dict(small.state_dict())
    old, new = small.state_dict()['pos_embed'], large.state_dict()['pos_embed']
    assert new.shape == (1, 1 + 30 * 30, 24) and torch.equal(new[:, 0], old[:, 0])
    return right('they are resized as they are loaded')


@report('microsoft/unilm#1332', 'Pre-training shares one bias table, fine-tuning has one a layer')
def test_shared_table__into_every_layer():
    shared, own = encoder(rel_pos='shared'), encoder(rel_pos='per_layer')
    own.load_state_dict(shared.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(shared(x)[0], own(x)[0], atol=1e-5)
    return right('each layer gets a copy, and the outputs are the same')


# ---- Checkpoints ----


@report('open-mmlab/mmpretrain#18', 'A file of a whole model, given to a backbone without a prefix')
def test_prefix__of_the_backbone(tmp_path):
    path = saved(mim(rel_pos='per_layer').state_dict(), tmp_path / 'mim.pth')
    given = dict(type='Pretrained', checkpoint=path)
    model = BEiTEncoder(ARCH, img_size=32, patch_size=8, rel_pos='per_layer', init_cfg=given)
    with pytest.raises(UserError, match="prefix='backbone.'") as caught:
        model.init_weights()
    return error(caught)


@report('facebookresearch/moco-v3#30', 'Names that begin with "module.", as DDP saves them')
def test_prefix__of_ddp(tmp_path):
    source, model = encoder(), encoder()
    state = {f'module.{name}': tensor for name, tensor in source.state_dict().items()}
    load_checkpoint(model, saved(state, tmp_path / 'ddp.pth'), map_location='cpu')
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(x)[0], source(x)[0])
    return right('the prefix is taken off')


@report('open-mmlab/mmdetection#9521', 'Nothing says which tensors of a backbone were found')
def test_report__of_each_module():
    state = encoder().state_dict()
    del state['blocks.1.mlp.fc1.weight']
    told = LoadReport.of(encoder(), state).by_module()
    assert 'blocks: ' in told and 'missing: blocks.1.mlp.fc1.weight' in told
    return right('a line for each module with what is missing, reshaped or unexpected')


@report('huggingface/transformers#13808', 'Weights that are missing in the file stay random')
def test_missing_weights__of_a_backbone():
    state = {n: t for n, t in encoder().state_dict().items() if 'blocks.1' not in n}
    with pytest.raises(IncompleteCheckpointError) as caught:
        encoder().load_state_dict(state, strict=False)
    return error(caught)


@report('openai/DALL-E#54', "Upsample of the published pickle lacks 'recompute_scale_factor'")
def test_pickle__of_a_module_of_old_torch(tmp_path):
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Upsample(scale_factor=2))
    del module[1].recompute_scale_factor
    torch.save(module, tmp_path / 'encoder.pkl')
    state = read_checkpoint(tmp_path / 'encoder.pkl')
    state = state.get('state_dict', state)
    assert torch.equal(state['0.weight'], module[0].weight)
    return right('weights are read from the pickle, and no class of it is made')


@report('open-mmlab/mmdetection#4835', 'A download that was cut off is found at the first use')
def test_checkpoint__that_is_cut_off(tmp_path):
    path = tmp_path / 'cut.pth'
    saved(encoder().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match='damaged') as caught:
        read_checkpoint(path)
    return error(caught)


@report('Lightning-AI/pytorch-lightning#688', 'Killed in a save, a run has a broken checkpoint')
def test_save__that_is_interrupted(tmp_path):
    torch.save(dict(x=torch.ones(1)), tmp_path / 'iter_3.pth')
    with pytest.raises(KeyboardInterrupt), open_atomically(tmp_path / 'iter_6.pth') as file:
        file.write(b'PK\x03\x04')
        raise KeyboardInterrupt
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth')[0] == tmp_path / 'iter_3.pth'
    return right('a file appears when it is whole; the one before is resumed')


# ---- Masks and losses ----


@report('huggingface/transformers#13235', 'The mask is taken, and not used by the encoder')
def test_mask__hides_pixels():
    model, mask = encoder(), torch.rand(1, 4, 4) < 0.5
    x = torch.randn(1, 3, 32, 32)
    pixels = F.interpolate(mask[:, None].float(), scale_factor=8)
    with torch.no_grad():
        hidden = model(x, mask)[0]
        assert torch.allclose(hidden, model(x + 9 * pixels, mask)[0], atol=1e-5)
        assert not torch.allclose(hidden, model(x)[0], atol=1e-2)
    return right('what is under the mask does not reach the features')


@report('microsoft/unilm#388', 'Whether the loss counts masked patches alone')
def test_loss__of_masked_patches_alone():
    model, data = mim().eval(), batch()
    shown = F.interpolate((~data['mask'])[:, None].float(), scale_factor=8)
    other = dict(data, token_inputs=(data['token_inputs'] + shown / 2) % 1)  # other tokens there
    assert not torch.equal(*(model.tokenizer.encode(d['token_inputs']) for d in (data, other)))
    losses = [model(**d, mode='loss')['loss'] for d in (data, other)]
    assert torch.equal(*losses)
    return right('tokens of visible patches do not change it')


@report('microsoft/unilm#551', 'The loss is NaN where no patch is masked (num_mask_patches=1)')
def test_mask__of_fewer_patches_than_a_block():
    masks = [BlockwiseMask(14, num_masked=1)({})['mask'] for _ in range(50)]
    assert {int(mask.sum()) for mask in masks} == {1}
    loss = mim()(**batch(share=0), mode='loss')['loss']
    assert loss.item() == 0 and loss.requires_grad
    return right('each image has a masked patch; a batch without one has the loss 0')


# ---- Tokenizers ----


@report('lucidrains/DALLE-pytorch#99', 'The KL term is summed over all positions of an image')
def test_kl__is_that_of_a_position():
    logits = torch.randn(3, 4, 4, 8)
    wanted = (logits.softmax(-1) * (logits.log_softmax(-1) + math.log(8))).sum(-1).mean()
    assert kl_to_uniform(logits.log_softmax(-1)).item() == pytest.approx(wanted.item(), rel=1e-5)
    return right('the mean over positions, whatever their number')


@report('lucidrains/DALLE-pytorch#40', 'Without a KL term a few codes are used')
def test_kl__pulls_to_all_codes():
    quantizer = MODELS.build(dict(type='GumbelQuantizer', vocab_size=8, code_dim=4, kl_weight=1.0))
    z = torch.zeros(2, 4, 4, 8)
    z[..., 0] = 4.0
    z.requires_grad_()
    _, _, losses = quantizer(z)
    kl = sum(value for name, value in losses.items() if 'kl' in name)
    kl.backward()
    assert (z.grad[..., 0] > 0).all() and (z.grad[..., 1:] < 0).all()
    return right('a term with a weight of its own pulls to the codes that are not used')


# ---- Optimizer ----


@report('huggingface/pytorch-image-models#2532', 'A decay of learning rates by layer has no effect')
def test_layer_decay__reaches_the_optimizer():
    model = nn.ModuleDict(dict(backbone=encoder(), head=nn.Linear(24, 2)))
    constructor = BEiTOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=1.0)), dict(layer_decay_rate=0.5)
    )
    optimizer = constructor(model).optimizer
    rates = {id(p): group['lr'] for group in optimizer.param_groups for p in group['params']}
    got = [rates[id(model.get_parameter(f'backbone.blocks.{i}.mlp.fc1.weight'))] for i in (0, 1)]
    assert got == [0.25, 0.5] and rates[id(model['head'].weight)] == 1.0
    return right('the groups of the optimizer have the rates')


@report('open-mmlab/mmdetection3d#488', 'DDP stops at parameters without a gradient')
def test_every_parameter__has_a_gradient():
    model = mim(abs_pos=True)
    model(**batch(), mode='loss')['loss'].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    return right('one step gives each trained parameter a gradient; DDP needs no option')


@report('lightly-ai/lightly-train#591', 'An export takes the batch size of its example alone')
def test_export__of_any_batch():
    model = encoder()
    with torch.no_grad():
        exported = torch.export.export(
            model,
            (torch.randn(2, 3, 32, 32),),
            dynamic_shapes=((torch.export.Dim('batch', max=1024), None, None, None),),
        ).module()
        x = torch.randn(5, 3, 32, 32)
        assert torch.allclose(exported(x)[0], model(x)[0], atol=1e-5)
    return right('torch.export takes batches of any size')
