"""A module whose init_cfg was never read says so, once, and no other does."""

import copy
import logging
import pickle

import pytest
import timm
import torch
import torch.nn as nn
import transformers
from examples import ENCODER, FEATMAP, FEATURES, TARGETS, TOKENIZERS, build
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint

from beit_mm.contracts import Tokenizer, UserError
from beit_mm.contracts.feature_extractor import has_drawn_weights
from beit_mm.registry import MODELS

SAID = 'has random weights'
NECK = dict(type='beit_mm.MaskedPatchNeck', dims=16)
X = torch.rand(2, 3, 16, 16)


@pytest.fixture
def warned(monkeypatch):
    """Return how often it was said so far."""
    said = []
    monkeypatch.setattr(
        'beit_mm.contracts.starting_weights.warn', lambda text: said.append((text, logging.WARNING))
    )
    return said


def encoder(**changes):
    return MODELS.build(dict(ENCODER, type='beit_mm.BEiTEncoder', **changes))


def tokenizer(**changes):
    return build(TOKENIZERS, 'DVAETokenizer', **changes)


def masked(**changes):
    return MODELS.build(
        dict(
            type='beit_mm.MaskedImageModel',
            tokenizer=dict(TOKENIZERS['DVAETokenizer'], type='beit_mm.DVAETokenizer'),
            backbone=dict(ENCODER, type='beit_mm.BEiTEncoder'),
            neck=NECK,
            head=dict(type='beit_mm.VisualTokenHead'),
            **changes,
        )
    )


# What is built, and how it is used
USES = dict(
    encoder=(encoder, lambda model: model(X)),
    tokenizer=(tokenizer, lambda model: model(X)),
    encode=(tokenizer, lambda model: model.encode(X)),
    loss=(tokenizer, lambda model: model.loss(X)),
    masked=(masked, lambda model: model(X)),
)


@pytest.fixture(params=USES)
def use(request):
    return USES[request.param]


@pytest.fixture
def pretrained(use, tmp_path):
    make, _ = use
    torch.save(make().state_dict(), tmp_path / 'weights.pth')
    return dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))


@pytest.mark.parametrize('twin', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), id])
def test_never_read__said_once(use, pretrained, warned, twin):
    make, run = use
    model = make(init_cfg=pretrained)
    model = model if twin is id else twin(model)
    run(model)
    run(model)
    assert len(warned) == 1
    text, level = warned[0]
    assert SAID in text and pretrained['checkpoint'] in text and level == logging.WARNING


READ = dict(
    init_weights=lambda model, path: model.init_weights(),
    load_state_dict=lambda model, path: model.load_state_dict(torch.load(path)),
    load_checkpoint=lambda model, path: load_checkpoint(model, path, map_location='cpu'),
    as_a_part=lambda model, path: torch.nn.ModuleDict(dict(part=model)).load_state_dict(
        {f'part.{name}': tensor for name, tensor in torch.load(path).items()}
    ),
)


@pytest.mark.parametrize('read', READ)
def test_read__nothing_is_said(use, pretrained, warned, read):
    MMLogger.get_current_instance()
    make, run = use
    model = make(init_cfg=[pretrained])
    READ[read](model, pretrained['checkpoint'])
    run(model)
    assert not warned


def test_other_init_cfg_and_none__nothing_is_said(use, warned):
    make, run = use
    run(make())
    run(make(init_cfg=dict(type='Normal', layer='Linear')))
    assert not warned


def test_parts_of_a_model__each_is_named(warned, tmp_path):
    unread = dict(init_cfg=dict(type='Pretrained', checkpoint='none.pth'))
    model = masked()
    model.tokenizer, model.backbone = tokenizer(**unread), encoder(**unread)
    model(X, token_inputs=X, mask=torch.rand(2, 4, 4) < 0.5, mode='loss')
    assert sorted(text.split()[0] for text, _ in warned) == ['BEiTEncoder', 'DVAETokenizer']


@pytest.mark.parametrize('prefix', ['backbon.', 'encoder', 'model.backbone'])
def test_prefix__that_no_tensor_has_is_told_with_those_that_are(tmp_path, prefix):
    path = tmp_path / 'a.pth'
    weights = {f'backbone.{name}': value for name, value in encoder().state_dict().items()}
    torch.save(dict(state_dict=dict(weights, **{'head.bias': torch.zeros(2)})), path)
    encoder(
        init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='backbone')
    ).init_weights()
    wrong = encoder(init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix=prefix))
    with pytest.raises(UserError, match=f"prefix='{prefix}' .*begin with backbone., head."):
        wrong.init_weights()


class TimmTokenizer(Tokenizer):
    """An encoder of another library, whose weights come from elsewhere."""

    def __init__(self):
        super().__init__(vocab_size=2, stride=16)
        self.vit = timm.create_model('vit_tiny_patch16_224', img_size=16, depth=1)
        nn.init.constant_(self.vit.patch_embed.proj.weight, 0.5)

    def encode(self, images):
        return self.vit.forward_features(images)[:, 1:].mean(-1)[..., None].long()


def test_init_weights__leaves_parts_of_other_libraries_as_they_are():
    holder = TimmTokenizer()
    holder.init_weights()
    assert holder.vit.patch_embed.proj.weight.eq(0.5).all()


def test_init_weights__a_part_of_the_tokenizer_that_is_read_needs_no_warning(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'beit_mm.contracts.errors.print_log', lambda text, **kwargs: said.append(text)
    )
    torch.save(encoder().state_dict(), tmp_path / 'weights.pth')
    read = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    for init_cfg in (None, read):
        backbone = dict(ENCODER, type='beit_mm.BEiTEncoder', init_cfg=init_cfg)
        model = masked()
        model.tokenizer = nn.ModuleDict(dict(part=MODELS.build(backbone)))
        model.tokenizer.init_cfg = None
        model.init_weights()
    assert len(said) == 1 and 'has no init_cfg' in said[0]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Return features of each kind that come with weights; none is downloaded."""
    create = timm.create_model
    monkeypatch.setattr(
        timm, 'create_model', lambda name, pretrained, **given: create(name, **given)
    )
    folder, weights = tmp_path / 'vit', tmp_path / 'weights.pth'
    vit = transformers.AutoConfig.for_model(**FEATURES['HFFeatures']['config'])
    transformers.AutoModel.from_config(vit).save_pretrained(folder)
    torch.save(encoder(out_type='featmap').state_dict(), weights)
    read = dict(type='Pretrained', checkpoint=str(weights))
    return dict(
        TimmFeatures=dict(FEATURES['TimmFeatures'], pretrained=True),
        HFFeatures=dict(model=str(folder)),
        BackboneFeatures=dict(dims=16, backbone=dict(FEATMAP, init_cfg=read)),
    )


@pytest.mark.parametrize('name', ['TimmFeatures', 'HFFeatures', 'BackboneFeatures'])
@pytest.mark.parametrize('comes_trained', [False, True])
def test_features__that_come_trained_need_no_init_cfg(trained, monkeypatch, name, comes_trained):
    """Centers of k-means are weights of their own, and are told all the same."""
    said = []
    monkeypatch.setattr('beit_mm.models.masked_image_model.warn', said.append)
    given = (trained if comes_trained else FEATURES)[name]
    features = dict(given, type=f'beit_mm.{name}')
    projected = build(TOKENIZERS, 'RandomProjectionTokenizer', features=features)
    target = build(TARGETS, 'FeatureTarget', features=features)
    for number, part in enumerate((projected, target), 1):
        assert has_drawn_weights(part) == (not comes_trained)
        model = masked()
        model.tokenizer = part
        model.init_weights()
        assert len(said) == (0 if comes_trained else number)
    assert has_drawn_weights(build(TOKENIZERS, 'KMeansTokenizer', features=features))
    assert has_drawn_weights(tokenizer()) and not has_drawn_weights(nn.ReLU())
