"""Where models come from: work dirs, files, exports, configs; and what a file cannot do."""

import copy
import os
import pickle
import subprocess
import sys
from contextlib import suppress

import checkpoints_of_models as made
import examples
import numpy as np
import pytest
import torch
from mmengine.config import Config

import beit_mm
from beit_mm import load_model
from beit_mm.apis import allowed_types
from beit_mm.checkpoints import for_file, read_checkpoint, read_description, weights_of
from beit_mm.checkpoints import write_weights as write
from beit_mm.checkpoints.description import describe
from beit_mm.cli import convert
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.registry import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    path = tmp_path_factory.mktemp('pretrained') / 'a.pth'
    made.saved(made.pretraining(), path)
    return path


@pytest.fixture
def image(tmp_path):
    return made.write_images(tmp_path / 'images', ((40, 48),))[0]


def changed(path, goal, change) -> str:
    """Write a checkpoint whose description ``change`` has worked on."""
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['beit_mm'] = copy.deepcopy(checkpoint['meta']['beit_mm'])
    change(checkpoint['meta']['beit_mm'])
    torch.save(checkpoint, goal)
    return str(goal)


def test_import__does_not_bring_the_plugins():
    script = (
        'import sys, beit_mm\n'
        "assert 'beit_mm.models' not in sys.modules and 'beit_mm.apis' not in sys.modules\n"
        "assert 'load_model' in beit_mm.__all__\n"
        'beit_mm.load_model\n'
        "assert 'mmpretrain' not in sys.modules and 'mmseg' not in sys.modules\n"
    )
    root = os.path.dirname(os.path.dirname(beit_mm.__file__))
    subprocess.run([sys.executable, '-c', script], check=True, cwd=root)
    with pytest.raises(AttributeError, match='no attribute'):
        beit_mm.load_modell  # noqa: B018


def test_attributes__say_what_the_training_was(pretrained):
    model = load_model(pretrained)
    assert (model.task, model.size, model.patch_size) == ('pretraining', (32, 32), 8)
    assert (model.in_channels, model.value_range) == (3, (0, 255))
    assert model.mean == [123.675, 116.28, 103.53] and model.channel_order == 'RGB'
    assert model.classes is None and not model.module.training


# ---- sources ----


def test_work_dir__best_then_last_then_numbered(tmp_path, pretrained, image, caplog):
    content = torch.load(pretrained, weights_only=True)
    names = ('best_acc_iter_3.pth', 'iter_5.pth', 'iter_9.pth')
    for number, name in enumerate(names):
        weights = {n: t * (1 + number / 10) for n, t in content['state_dict'].items()}
        torch.save(dict(content, state_dict=weights), tmp_path / name)
    (tmp_path / 'last_checkpoint').write_text('iter_5.pth')

    def is_of(name):
        model = load_model(tmp_path)
        assert model.source == str(tmp_path / name)
        expected = read_checkpoint(tmp_path / name)['state_dict']['backbone.cls_token']
        assert torch.equal(model.module.backbone.cls_token, expected)

    is_of('best_acc_iter_3.pth')
    (tmp_path / 'earlier_checkpoints.txt').write_text('best_acc_iter_3.pth\n')  # of another run
    is_of('iter_5.pth')
    (tmp_path / 'iter_5.pth').write_bytes(b'PK cut off')
    is_of('iter_9.pth')
    (tmp_path / 'iter_9.pth').write_bytes(b'')
    with pytest.raises(UserError, match=r'no whole checkpoint \(iter_5.pth: .*iter_9.pth: it is'):
        load_model(tmp_path)


def test_sources__that_are_not_there(tmp_path):
    with pytest.raises(MissingFileError, match='nowhere'):
        load_model(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='has no checkpoint'):
        load_model(tmp_path)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_exported_folder__is_the_same_model(tmp_path, pretrained, image, dtype):
    weights = weights_of(read_checkpoint(pretrained))
    half = {n: t.to(dtype) if t.is_floating_point() else t for n, t in weights.items()}
    path = tmp_path / 'model.safetensors'
    write(half, path, for_file(read_description(pretrained), path))
    model = load_model(tmp_path)
    found, expected = (m.embed(image).features for m in (model, load_model(pretrained)))
    np.testing.assert_allclose(found, expected, atol=0 if dtype == torch.float32 else 0.05)
    assert model.module.backbone.cls_token.dtype == torch.float32


def test_encoder_alone__is_embedded_as_in_its_pre_training(tmp_path, pretrained, image):
    """As an export writes it: the tensors and the description of the encoder."""
    said = read_description(pretrained)
    architecture = said['architecture']['backbone']
    said.update(task='backbone', architecture=architecture)
    weights = weights_of(read_checkpoint(pretrained))
    for prefix in ('', 'backbone.'):
        own = {n.replace('backbone.', prefix, 1): t for n, t in weights.items() if 'backbone' in n}
        path = tmp_path / prefix / 'model.safetensors'
        path.parent.mkdir(exist_ok=True)
        write(own, path, for_file(said, path))
        found = load_model(path.parent).embed(image).features
        np.testing.assert_allclose(found, load_model(pretrained).embed(image).features, atol=1e-6)


def test_converted_file__is_loaded_as_what_it_is(tmp_path, pretrained, image):
    expected = load_model(pretrained)
    for task, fits in (('backbone', 'backbone'), ('auto', 'pretraining')):
        goal = tmp_path / f'{task}.safetensors'
        convert.main([str(pretrained), str(goal), '--task', task])
        model = load_model(goal)
        assert model.task == fits
        np.testing.assert_array_equal(model.embed(image).features, expected.embed(image).features)
    goal = tmp_path / 'wide.pth'
    convert.main([str(pretrained), str(goal), '--task', 'backbone', '--img-size', '32', '48'])
    model = load_model(goal)
    assert model.size == (32, 48) and model.embed(image, pool='patches').features.shape[2] == 6


def test_ema__average_or_not(tmp_path, pretrained):
    content = torch.load(pretrained, weights_only=True)
    live = {f'module.{n}': t + 1 for n, t in content['state_dict'].items() if t.is_floating_point()}
    live |= {
        f'module.{n}': t for n, t in content['state_dict'].items() if f'module.{n}' not in live
    }
    path = tmp_path / 'ema.pth'
    torch.save(dict(content, ema_state_dict=dict(live, steps=torch.tensor(3))), path)
    average = content['state_dict']['backbone.cls_token']
    for ema, expected in ((None, average), (True, average), (False, average + 1)):
        assert torch.equal(load_model(path, ema=ema).module.backbone.cls_token, expected)
    with pytest.raises(UserError, match='no average'):
        load_model(pretrained, ema=True)
    load_model(pretrained, ema=False)


def test_config__replaces_what_an_older_checkpoint_does_not_say(tmp_path, pretrained, image):
    content = torch.load(pretrained, weights_only=True)
    old = tmp_path / 'old.pth'
    torch.save(dict(state_dict=content['state_dict']), old)
    with pytest.raises(UserError, match='does not say how its model is built.*config='):
        load_model(old)
    config = made.pretraining()
    config.model.tokenizer.init_cfg = dict(type='Pretrained', checkpoint='is/not/read.pth')
    config.dump(str(tmp_path / 'config.py'))
    expected = load_model(pretrained)
    for given in (config, str(tmp_path / 'config.py'), tmp_path / 'config.py'):
        model = load_model(old, config=given)
        assert (model.embed(image).features == expected.embed(image).features).all()
        for name in ('task', 'architecture', 'preprocessing', 'images', 'backbone'):
            assert model.description[name] == expected.description[name], name
    with pytest.raises(MissingFileError, match='no config file'):
        load_model(old, config='nowhere.py')
    other = Config(config.to_dict())
    other.model.backbone.arch = dict(embed_dims=16, num_layers=2, num_heads=2)
    with pytest.raises(UserError, match='old.pth'):
        load_model(old, config=other)


def test_config__of_a_tokenizer_normalizes_its_images(tmp_path, image):
    config = made.tokenizer()
    made.saved(config, tmp_path / 'a.pth')
    content = torch.load(tmp_path / 'a.pth')
    del content['meta']['beit_mm']
    torch.save(content, tmp_path / 'old.pth')
    found = load_model(tmp_path / 'old.pth', config=config)
    assert (found.std, found.channel_order) == ([255.0], 'RGB')
    expected = load_model(tmp_path / 'a.pth').tokenize(image)
    assert (found.tokenize(image).ids == expected.ids).all()


def test_config__of_an_encoder_alone_takes_it_from_any_checkpoint(tmp_path, pretrained, image):
    config = made.pretraining()
    config.model = config.model.backbone
    model = load_model(pretrained, config=config)
    assert model.task == 'backbone'
    expected = load_model(pretrained).embed(image).features
    np.testing.assert_allclose(model.embed(image).features, expected, atol=1e-6)


def test_mask_embedding__is_needed_in_a_pre_training_alone(tmp_path, pretrained, image):
    """As in a file of another code base, whose fine-tuned models have none."""
    config = made.classifier()
    made.saved(config, tmp_path / 'a.pth')
    expected = load_model(tmp_path / 'a.pth').classify(image)
    for path in (tmp_path / 'a.pth', pretrained):
        content = torch.load(path, weights_only=True)
        del content['state_dict']['backbone.mask_token']
        torch.save(content, tmp_path / f'without_{path.parent.name}.pth')
    found = load_model(tmp_path / f'without_{tmp_path.name}.pth').classify(image)
    assert (found.pred_scores == expected.pred_scores).all()
    with pytest.raises(UserError, match='backbone.mask_token'):
        load_model(tmp_path / f'without_{pretrained.parent.name}.pth')


def test_device__that_is_not_there(pretrained):
    for device in ('cuda:99', 'no such device'):
        with pytest.raises(UserError, match='device='):
            load_model(pretrained, device=device)


def test_description_of_format_2__is_read_but_needs_a_config(tmp_path, pretrained):
    def older(said):
        said['format'] = 2
        for name in ('task', 'architecture', 'preprocessing'):
            said.pop(name)

    path = changed(pretrained, tmp_path / 'old.pth', older)
    assert read_description(path)['backbone']['patch_size'] == 8
    with pytest.raises(UserError, match='config='):
        load_model(path)


# ---- every model can be described and built again ----


@pytest.mark.parametrize('name', sorted(examples.TOKENIZERS))
def test_every_tokenizer__is_built_from_its_description(tmp_path, name):
    size, stride = (32, 8) if name == 'DALLETokenizer' else (16, 4)
    config = made.tokenizer(dict(type=name, **examples.TOKENIZERS[name]), size=size)
    module = made.saved(config, tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth')
    assert 'teacher' not in model.description['architecture']
    (path,) = made.write_images(tmp_path / 'images', ((size, size),))
    tokens = model.tokenize(path)
    view = torch.rand(2, 3, size, size)
    assert torch.equal(module.encode(view), model.module.encode(view))
    assert tokens.ids.shape == (1, size // stride, size // stride)
    if module.can_decode:
        ids = torch.randint(module.vocab_size, (1, 4, 4))
        assert torch.equal(module.decode(ids), model.module.decode(ids))


def an_object(config):
    config.model.backbone.arch = dict(made.ARCH, extra=object())


def no_size(config):
    config.train_dataloader.dataset.pipeline[1] = dict(type='RandomResizedCrop')


def a_function(config):
    config.train_dataloader.dataset.pipeline[1] = print


def a_list_of_sizes(config):
    config.train_dataloader.dataset.pipeline[1] = dict(type='CenterCrop', crop_size='all')


@pytest.mark.parametrize('change', [an_object, no_size, a_function, a_list_of_sizes])
def test_description__of_an_odd_config_never_stops_a_checkpoint(change):
    config = made.pretraining()
    model = MODELS.build(config.model.to_dict())
    change(config)
    found = describe(model, config, model.state_dict())
    assert found['task'] == 'pretraining' and found['backbone']['patch_size'] == 8
    assert ('architecture' in found) == (change is not an_object)


@pytest.mark.parametrize(
    'changes',
    [
        dict(model=dict(encoder=dict(type='ConvEncoder', width=8))),
        dict(recon_loss=dict(type='LogitLaplaceReconLoss')),
        dict(
            recon_loss=dict(
                type='PerceptualReconLoss',
                backbone=dict(made.ENCODER, out_type='featmap'),
                pixel_loss=dict(type='LogitLaplaceReconLoss'),
            )
        ),
    ],
    ids=['parts', 'laplace', 'perceptual'],
)
def test_autoencoder__parts_get_the_sizes_that_it_gives_them(tmp_path, changes):
    model = dict(
        type='AutoencoderTokenizer',
        encoder=dict(type='ConvEncoder', width=8, num_blocks=1),
        quantizer=dict(type='EMAVectorQuantizer', vocab_size=16, code_dim=4),
        decoder=dict(type='ConvDecoder', width=8, num_blocks=1),
        stride=4,
    )
    model |= {key: value for key, value in changes.items() if key != 'model'}
    module = made.saved(made.tokenizer(model), tmp_path / 'a.pth')
    found = load_model(tmp_path / 'a.pth').module
    ids = torch.randint(16, (1, 4, 4))
    assert torch.equal(module.decode(ids), found.decode(ids))


def test_allowed_types__decide_on_every_model_of_the_package():
    MODELS.import_from_location()
    own = {n for n, cls in MODELS.module_dict.items() if cls.__module__.startswith('beit_mm.')}
    decided = {*allowed_types.OWN_MODELS, *allowed_types.OWN_REFUSED}
    assert own == decided


# ---- what a file cannot do ----


class Touch:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ('hacked', 'w')


def hostile_type(said):
    said['architecture']['head'] = dict(type='subprocess.getoutput', cmd='touch hacked')


def unknown_plugin(said):
    said['architecture']['neck']['type'] = 'beit_mm.MyNeck'


def download(said):
    said['architecture']['tokenizer'] = dict(
        type='beit_mm.KMeansTokenizer',
        vocab_size=4,
        features=dict(type='beit_mm.TimmFeatures', model='hf-hub:evil/model'),
    )


def reads_a_file(said):
    said['architecture']['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='/etc/x')


def other_scope(said):
    said['architecture']['_scope_'] = 'evil_package'


def evil_transform(said):
    said['preprocessing']['pipeline'].insert(1, dict(type='mmpretrain.Albumentations'))


def remote_files(said):
    said['preprocessing']['pipeline'][0]['backend_args'] = dict(backend='petrel')


def many_layers(said):
    said['architecture']['backbone']['arch']['num_layers'] = 10**7


def wide_layers(said):
    said['architecture']['backbone']['arch'].update(embed_dims=2**24, num_heads=2)


def too_large(said):
    said['architecture']['backbone']['img_size'] = 10**12


def large_grid(said):
    said['architecture']['backbone'].update(img_size=2**20, patch_size=8)


def nested(said):
    part = said['architecture']
    for _ in range(100):
        part['backbone'] = part = dict(type='beit_mm.BEiTEncoder')


def weights_of_a_loss(said):
    loss = dict(type='mmseg.CrossEntropyLoss', class_weight='weights.pkl')
    sizes = dict(in_channels=32, channels=8, num_classes=2)
    said['architecture']['head'] = dict(type='mmseg.FCNHead', loss_decode=loss, **sizes)


def large_image(said):
    said['preprocessing']['pipeline'][1]['size'] = [2**30, 2**30]


def other_class(said):
    said['architecture'] = dict(type='beit_mm.DVAETokenizer')


def no_argument(said):
    said['architecture']['backbone']['no_such_option'] = 3


def type_is_no_text(said):
    said['architecture']['neck']['type'] = ['a']


ATTACKS = (
    *(hostile_type, unknown_plugin, download, reads_a_file, other_scope, evil_transform),
    *(remote_files, many_layers, wide_layers, too_large, large_grid, nested, other_class),
    *(no_argument, type_is_no_text, weights_of_a_loss, large_image),
)


@pytest.mark.parametrize('attack', ATTACKS)
def test_description__that_asks_for_more_is_refused(tmp_path, pretrained, attack, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = changed(pretrained, tmp_path / 'a.pth', attack)
    (tmp_path / 'weights.pkl').write_bytes(pickle.dumps(Touch()))
    with pytest.raises(UserError, match='a.pth'):
        load_model(path)
    assert not (tmp_path / 'hacked').exists() and 'evil_package' not in sys.modules


@pytest.mark.parametrize(
    'are_said, message',
    [(True, 'takes more than 48 times'), (False, 'asks for .* bytes, but its weights have')],
)
def test_weights__of_a_small_file_that_say_a_large_size_are_refused(
    tmp_path, pretrained, are_said, message
):
    content = torch.load(pretrained, weights_only=True)
    for layer in range(4):
        mlp, wide = f'backbone.blocks.{layer}.mlp', 2**24
        shapes = {'fc1.weight': (wide, 32), 'fc1.bias': (wide,), 'fc2.weight': (32, wide)}
        for name, shape in shapes.items():
            del content['state_dict'][f'{mlp}.{name}']
            if are_said:
                content['state_dict'][f'{mlp}.{name}'] = torch.zeros(1).expand(shape)
    said = copy.deepcopy(content['meta']['beit_mm'])
    said['architecture']['backbone']['arch'].update(mlp_ratio=2**19)
    content['meta']['beit_mm'] = said
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / 'a.pth')


@MODELS.register_module(force=True)
class HeadOfAUser(MODELS.get('beit_mm.VisualTokenHead')):
    pass


def test_own_class__is_built_when_it_is_allowed(tmp_path, image):
    made.saved(made.pretraining(head='HeadOfAUser'), tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r"type='beit_mm.HeadOfAUser'.*allow="):
        load_model(tmp_path / 'a.pth')
    for name in ('HeadOfAUser', 'beit_mm.HeadOfAUser'):
        model = load_model(tmp_path / 'a.pth', allow=[name])
        assert type(model.module.head) is HeadOfAUser
    with pytest.raises(UserError, match='HeadOfAUser'):
        load_model(tmp_path / 'a.pth', allow=['HeadOfAnother'])


def test_dtype__computes_in_it_and_keeps_the_tokens(pretrained, image):
    plain, half = load_model(pretrained), load_model(pretrained, dtype='bfloat16')
    found, expected = half.embed(image).features, plain.embed(image).features
    assert found.dtype == np.float32 and (found != expected).any()
    np.testing.assert_allclose(found, expected, atol=0.2)
    assert (half.tokenize(image).ids == plain.tokenize(image).ids).all()
    with pytest.raises(UserError, match='dtype'):
        load_model(pretrained, dtype='int8')


def test_dtype__that_this_cpu_is_slow_in(pretrained, monkeypatch):
    module = sys.modules['beit_mm.apis.load_model']  # the package has the function of this name
    monkeypatch.setattr(module, 'describe_slowdown', lambda dtype: f'{dtype} is slow here')
    with pytest.warns(UserWarning, match="dtype='float16': torch.float16 is slow here"):
        load_model(pretrained, dtype='float16')


@pytest.mark.parametrize(
    ('verb', 'arguments', 'text'),
    [
        ('embed', dict(layer=1.5), r'layer=1\.5: expected'),
        ('embed', dict(layer='last'), "layer='last'"),
        ('embed', dict(layer=True), 'layer=True'),
        ('attention', dict(query=5), r'query=5: expected \(row, column\)'),
        ('attention', dict(query=(1, 2, 3)), 'query='),
        ('attention', dict(query=(0.5, 1)), 'query='),
        ('attention', dict(query='ab'), 'query='),
        ('classify', dict(topk=2.5), r'topk=2\.5'),
        ('classify', dict(topk='all'), "topk='all'"),
    ],
)
def test_arguments__of_another_kind_are_told(tmp_path, verb, arguments, text):
    config = made.classifier()
    made.saved(config, tmp_path / 'a.pth')
    image = np.zeros((32, 32, 3), np.uint8)
    model = load_model(tmp_path / 'a.pth')
    with pytest.raises(UserError, match=text):
        getattr(model, verb)(image, **arguments)
    model.embed(image, layer=np.int64(-1))
    model.attention(image, query=np.array([1, 2]))


@pytest.mark.parametrize('source', [None, 3, dict(a=1), b'a.pth'])
def test_source__that_is_no_path_is_told(source):
    with pytest.raises(UserError, match=type(source).__name__):
        load_model(source)


def test_allow__is_a_list(tmp_path):
    """A text would allow all names that are a part of it."""
    made.saved(made.classifier(), tmp_path / 'a.pth')
    with pytest.raises(UserError, match="allow='MyHeads' is one text; expected a list"):
        load_model(tmp_path / 'a.pth', allow='MyHeads')


def test_odd_arguments__are_told_in_words(tmp_path):
    made.saved(made.pretraining(), tmp_path / 'a.pth')
    model, image = load_model(tmp_path / 'a.pth'), np.zeros((32, 32, 3), np.uint8)
    for options in (dict(batch_size='3'), dict(batch_size=0), dict(workers=-1)):
        with pytest.raises(UserError, match=f'embed.{next(iter(options))}='):
            model.embed(image, **options)
    with pytest.raises(UserError, match='mask=True: expected a share'):
        model.reconstruct(image, mask=True)
    with pytest.raises(UserError, match='AttentionMaps are no table'):
        model.attention(image).to_pandas()
    for tokens in ('abc', np.zeros((1, 0, 8), int), np.zeros((2, 2))):
        with pytest.raises(UserError, match='tokens are .*expected integers'):
            model.detokenize(tokens)
    expected = model.detokenize(np.ones((4, 4), int))
    for kind in (np.uint8, np.uint16, np.uint64):
        np.testing.assert_array_equal(model.detokenize(np.ones((4, 4), kind)), expected)


@pytest.mark.parametrize('name', ['pipeline', 'size', 'token_size', 'range', 'channels'])
@pytest.mark.parametrize('value', [10**9, 1e308, [[1]], 'all', [None, None], [1, 2, 3], {}])
def test_description__whose_preprocessing_has_another_form(tmp_path, name, value):
    path = tmp_path / 'c.pth'
    made.saved(made.classifier(), path)
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['meta']['beit_mm']['preprocessing'][name] = value
    torch.save(checkpoint, path)
    with suppress(UserError):  # that of a channel, for example
        assert load_model(path).task == 'classification'
