"""Exported folders: loaded here by the libraries that they are for, beside the command's proof."""

import json
import re
import sys
from pathlib import Path

import minimal_plugins  # noqa: F401  (registers them)
import numpy as np
import pytest
import timm
import torch
import transformers
from checkpoints_of_models import classifier, pretraining, saved
from mmengine.logging import MessageHub
from safetensors.torch import load_file

from beit_mm.apis import export, load_model
from beit_mm.apis.export import huggingface
from beit_mm.apis.export.export_model import TARGETS
from beit_mm.checkpoints.store.plain_values import plain_message_hub
from beit_mm.cli import export as command
from beit_mm.contracts import MissingPackageError, UserError

TASKS = ('classification', 'pretraining', 'segmentation')


def close(first, second) -> bool:
    first, second = torch.as_tensor(first), torch.as_tensor(second)
    return torch.allclose(first, second, rtol=1e-4, atol=1e-4 * second.abs().max().item())


def tokens_of(model, picture) -> torch.Tensor:
    return torch.from_numpy(model.embed(picture, pool='patches').features).flatten(1, 2)


@pytest.mark.slow
@pytest.mark.parametrize('name', [*TASKS, 'bgr'])
def test_huggingface__pipelines_give_our_outputs(checkpoint, tmp_path, picture, name):
    model = load_model(checkpoint(name))
    if name == 'classification':  # resized to 40 and cropped to 32 by both
        picture = picture.resize((40, 40))
    found = export(model, tmp_path / 'hub')
    assert found.largest < 1e-4
    pipe = transformers.pipeline('image-feature-extraction', model=str(tmp_path / 'hub'))
    assert close(torch.tensor(pipe(picture))[:, 1:], tokens_of(model, picture))
    if name == 'classification':
        rows = transformers.pipeline('image-classification', model=str(tmp_path / 'hub'))(picture)
        answer = model.classify(picture)
        scores = dict(zip(model.classes, answer.pred_scores[0], strict=True))
        assert {row['label'] for row in rows} == {'ant', 'bee', 'cow', 'dog'}
        assert all(abs(scores[row['label']] - row['score']) < 1e-5 for row in rows)
    if name == 'segmentation':
        rows = transformers.pipeline('image-segmentation', model=str(tmp_path / 'hub'))(picture)
        mask = np.full((32, 32), 255)
        for row in rows:
            mask[np.array(row['mask']) > 0] = model.classes.index(row['label'])
        assert (mask == model.segment(picture).masks[0]).mean() > 0.999


ENCODERS = dict(
    both_positions=dict(abs_pos=True),
    absolute=dict(abs_pos=True, rel_pos=None, layer_scale_init=None),
    no_positions=dict(rel_pos=None),
    own_tables=dict(rel_pos='per_layer'),
    no_bias=dict(qkv_bias=False),
    wide_mlp=dict(arch=dict(embed_dims=30, num_layers=2, num_heads=3, mlp_ratio=2.71)),
    last_norm=dict(final_norm=True),
    layers=dict(out_indices=(0, 2), final_norm=True),
    dropped=dict(drop_path_rate=0.5, drop_rate=0.5, attn_drop_rate=0.5, mlp_drop_rate=0.5),
)


@pytest.mark.slow
@pytest.mark.parametrize('to', ['huggingface', 'timm'])
@pytest.mark.parametrize('options', ENCODERS.values(), ids=ENCODERS)
def test_any_encoder__is_proved(tmp_path, options, to):
    saved(pretraining(backbone=options), tmp_path / 'a.pth')
    found = export(tmp_path / 'a.pth', tmp_path / 'hub', to=to, backbone=True)
    assert found.largest < 1e-4


@pytest.mark.parametrize(('to', 'size'), [('huggingface', (48, 48)), ('timm', (48, 24))])
def test_size__moves_positions_as_the_encoder_does(checkpoint, tmp_path, to, size):
    model = load_model(checkpoint('pretraining'))
    export(model, tmp_path / 'hub', to=to, size=size)
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        (ours,) = model.module.backbone(x)
        if to == 'timm':
            theirs = timm.create_model(f'local-dir:{tmp_path / "hub"}', pretrained=True).eval()
            assert close(theirs.forward_features(x), ours)
        else:
            theirs = transformers.AutoModel.from_pretrained(tmp_path / 'hub')
            assert close(theirs(x).last_hidden_state, ours)
    with pytest.raises(UserError, match='multiples of 8'):
        export(model, tmp_path / 'no', to=to, size=(30, 30))


def test_v2__gives_the_terms_of_the_last_layer(tmp_path):
    neck = dict(type='PatchAggregationNeck', num_layers=1, early_layer=2)
    saved(pretraining(backbone=dict(out_indices=(1, -1)), neck=neck), tmp_path / 'a.pth')
    assert export(tmp_path / 'a.pth', tmp_path / 'hub').largest < 1e-4
    assert export(tmp_path / 'a.pth', tmp_path / 'timm', to='timm').largest < 1e-4


@pytest.mark.parametrize(
    ('classes', 'names'),
    [
        (('x', 'x', 'y', '3'), ['x', 'x', 'y', '3']),
        (('no', 'two'), ['LABEL_0', 'LABEL_1', 'LABEL_2', 'LABEL_3']),
        ((), ['LABEL_0', 'LABEL_1', 'LABEL_2', 'LABEL_3']),
        (('dog', 'Müller|s', 'a\nb', '猫'), ['dog', 'Müller|s', 'a\nb', '猫']),
    ],
)
def test_class_names__are_carried_or_numbers(tmp_path, classes, names):
    saved(classifier(), tmp_path / 'a.pth', dict(classes=classes))
    found = export(tmp_path / 'a.pth', tmp_path / 'hub')
    config = json.loads((tmp_path / 'hub' / 'config.json').read_text())
    assert list(config['id2label'].values()) == names
    assert bool(found.notes[:-1]) == (len(classes) == 2)


def test_model_in_another_precision__is_exported_in_full(checkpoint, tmp_path):
    model = load_model(checkpoint('classification'), dtype='bfloat16')
    assert export(model, tmp_path / 'hub', to='timm').largest < 1e-4


def test_norm_eps__is_carried_or_refused(tmp_path):
    backbone, neck = dict(norm_eps=1e-3), dict(type='MaskedPatchNeck', norm_eps=1e-3)
    saved(pretraining(backbone=backbone, neck=neck), tmp_path / 'a.pth')
    assert export(tmp_path / 'a.pth', tmp_path / 'hub').largest < 1e-4
    config = json.loads((tmp_path / 'hub' / 'config.json').read_text())
    assert config['layer_norm_eps'] == 1e-3
    with pytest.raises(UserError, match='eps=1e-06.*0.001.*--to huggingface'):
        export(tmp_path / 'a.pth', tmp_path / 'timm', to='timm')


def test_huggingface__masked_modeling_gives_our_predictions(checkpoint, tmp_path):
    model = load_model(checkpoint('pretraining'))
    export(model, tmp_path / 'hub')
    theirs, info = transformers.BeitForMaskedImageModeling.from_pretrained(
        tmp_path / 'hub', output_loading_info=True
    )
    assert not info['missing_keys']
    x, mask = torch.randn(2, 3, 32, 32), torch.rand(2, 4, 4) < 0.5
    with torch.no_grad():
        ours = model.module.head.predict(model.module.features(x, mask, mask))
        logits = theirs(x, bool_masked_pos=mask.flatten(1)).logits[mask.flatten(1)]
    assert close(logits, ours)
    config = json.loads((tmp_path / 'hub' / 'config.json').read_text())
    assert config['model_type'] == 'beit'
    assert config['architectures'] == ['BeitForMaskedImageModeling']


@pytest.mark.parametrize('name', ['classification', 'pretraining', 'bgr', 'wide'])
def test_timm__models_give_our_outputs(checkpoint, tmp_path, picture, name):
    model = load_model(checkpoint(name))
    if name == 'classification':
        picture = picture.resize((40, 40))
    if name == 'wide':
        picture = picture.resize((48, 32))
    export(model, tmp_path / 'hub', to='timm')
    place = f'local-dir:{tmp_path / "hub"}'
    theirs = timm.create_model(place, pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    x = transform(picture)[None]
    ours = tokens_of(model, picture)
    with torch.no_grad():
        assert close(theirs.forward_features(x)[:, 1:], ours)
        features = timm.create_model(place, pretrained=True, features_only=True).eval()(x)
        assert close(features[-1].flatten(2).transpose(1, 2), ours)
        if name == 'classification':
            scores = theirs(x).softmax(-1)
            assert close(scores, model.classify(picture).pred_scores)
            assert theirs.pretrained_cfg['label_names'] == ['ant', 'bee', 'cow', 'dog']
        theirs.reset_classifier(0)
        assert close(theirs(x), model.module.neck.norm(ours.mean(1)))


@pytest.mark.parametrize('name', [*TASKS, 'decoder', 'probe', 'tokenizer', 'pixels', 'wide'])
def test_beit_mm__folder_gives_the_same(checkpoint, tmp_path, name):
    model = load_model(checkpoint(name))
    export(model, tmp_path / 'ours', to='beit_mm')
    again = load_model(tmp_path / 'ours')
    assert (again.task, again.classes, again.palette) == (model.task, model.classes, model.palette)
    image = np.random.default_rng(0).integers(0, 256, (*model.size, 3), dtype=np.uint8)
    first, second = (part.predict(image)[0] for part in (model, again))
    for key, value in first.items():
        assert np.array_equal(value, second[key]), key


@pytest.mark.slow
@pytest.mark.parametrize('to', ['huggingface', 'timm', 'beit_mm'])
@pytest.mark.parametrize('name', [*TASKS, 'decoder'])
def test_backbone__leaves_the_head(checkpoint, tmp_path, name, to):
    found = export(checkpoint(name), tmp_path / 'hub', to=to, backbone=True)
    assert found.task == 'backbone'
    names = load_file(tmp_path / 'hub' / 'model.safetensors')
    assert not [n for n in names if re.search(r'(lm_|decode_)?head|classifier|neck|tokenizer', n)]


@pytest.mark.parametrize(
    ('name', 'to', 'words'),
    [
        ('tokenizer', 'huggingface', '--to onnx'),
        ('tokenizer', 'timm', '--to onnx'),
        ('decoder', 'huggingface', 'FCNHead.*--backbone'),
        ('segmentation', 'timm', '--to huggingface.*--backbone'),
        ('probe', 'huggingface', 'GlobalAveragePooling.*--backbone'),
        ('probe', 'timm', 'GlobalAveragePooling.*--backbone'),
        ('wide', 'huggingface', 'not square.*--to timm'),
    ],
)
def test_what_a_library_cannot_have__is_refused_in_words(checkpoint, tmp_path, name, to, words):
    with pytest.raises(UserError, match=words):
        export(checkpoint(name), tmp_path / 'hub', to=to)
    assert not list(tmp_path.iterdir())


def test_head_of_other_targets__is_left_behind_with_a_note(checkpoint, tmp_path):
    found = export(checkpoint('pixels'), tmp_path / 'hub')
    assert found.task == 'backbone' and 'encoder alone' in found.notes[0]
    assert 'encoder alone' in (tmp_path / 'hub' / 'README.md').read_text()


@pytest.mark.parametrize('to', ['huggingface', 'timm'])
def test_bands__are_normalized_as_in_training(checkpoint, tmp_path, to):
    model = load_model(checkpoint('bands'))
    export(model, tmp_path / 'hub', to=to)
    image = np.random.default_rng(0).integers(0, 2**16, (32, 32, 4)).astype(np.float32)
    if to == 'timm':
        theirs = timm.create_model(f'local-dir:{tmp_path / "hub"}', pretrained=True).eval()
        config = theirs.pretrained_cfg
        mean, std = np.array(config['mean']), np.array(config['std'])
        x = torch.tensor((image / 65535 - mean) / std).float().permute(2, 0, 1)[None]
        logits = theirs(x)
    else:
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / 'hub')
        options = dict(input_data_format='channels_first', return_tensors='pt')
        x = processor(image.transpose(2, 0, 1), **options)
        auto = transformers.AutoModelForImageClassification
        logits = auto.from_pretrained(tmp_path / 'hub')(**x).logits
    assert close(logits.detach().softmax(-1), model.classify(image).pred_scores)


def test_window__is_named_and_what_the_library_has_to_be_given(checkpoint, tmp_path):
    model = load_model(checkpoint('signed'))
    found = export(model, tmp_path / 'hub')
    (note,) = [note for note in found.notes if 'window' in note]
    text = (tmp_path / 'hub' / 'README.md').read_text()
    assert note in text and '| bands | [2] |' in text and '| nodata | -2000 |' in text
    assert '| window | values of a file are clipped to [-1000, 400], less -1000 |' in text
    array = np.random.default_rng(0).normal(-300, 900, (1, 32, 32)).round()
    given = eval(re.search(r'np.clip.*\)', note)[0])  # as it says
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / 'hub')
    x = processor(given, input_data_format='channels_first', return_tensors='pt')
    auto = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / 'hub')
    ours = model.classify(array.transpose(1, 2, 0)).pred_scores
    assert close(auto(**x).logits.detach().softmax(-1), ours)


@pytest.mark.parametrize('to', ['huggingface', 'timm', 'beit_mm'])
def test_half__is_stored_in_float16(checkpoint, tmp_path, to):
    found = export(checkpoint('classification'), tmp_path / 'hub', to=to, half=True)
    weights = load_file(tmp_path / 'hub' / 'model.safetensors')
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {
        torch.float16
    }
    assert found.largest < 1e-4 and 'float16' in (tmp_path / 'hub' / 'README.md').read_text()


def test_half__of_what_overflows_or_has_ids_is_refused(checkpoint, tmp_path):
    with pytest.raises(UserError, match='ids of a tokenizer'):
        export(checkpoint('tokenizer'), tmp_path / 'hub', to='beit_mm', half=True)
    model = load_model(checkpoint('classification'))
    with torch.no_grad():
        model.module.head.fc.bias[0] = 1e6
    with pytest.raises(UserError, match='head.fc.bias is too large'):
        export(model, tmp_path / 'hub', to='beit_mm', half=True)
    assert not list(tmp_path.iterdir())


def test_ema__takes_the_average_or_says_that_there_is_none(checkpoint, tmp_path):
    path = checkpoint('classification')
    with pytest.raises(UserError, match='no average'):
        export(path, tmp_path / 'hub', to='beit_mm', ema=True)
    content = torch.load(path)
    live = {f'module.{name}': tensor + 1 for name, tensor in content['state_dict'].items()}
    torch.save(dict(content, ema_state_dict=live), tmp_path / 'ema.pth')
    bias = content['state_dict']['head.fc.bias']
    for ema, expected in ((True, bias), (False, bias + 1)):
        folder = tmp_path / str(ema)
        export(tmp_path / 'ema.pth', folder, to='beit_mm', ema=ema)
        assert torch.equal(load_file(folder / 'model.safetensors')['head.fc.bias'], expected)


@pytest.mark.parametrize('to', ['huggingface', 'timm', 'beit_mm'])
def test_folder_that_computes_something_else__does_not_appear(
    checkpoint, tmp_path, monkeypatch, to
):
    """The proof loads what was written, so a change of the file is found."""
    write = TARGETS[to].write_weights

    def change(weights, *args):
        name = next(n for n in weights if re.search(r'(fc1|intermediate\.dense)\.weight', n))
        write(weights | {name: weights[name] + 0.1}, *args)

    monkeypatch.setattr(TARGETS[to], 'write_weights', change)
    with pytest.raises(UserError, match='differ by .* nothing was written'):
        export(checkpoint('classification'), tmp_path / 'hub', to=to)
    assert not list(tmp_path.iterdir())


def test_processor_that_normalizes_otherwise__is_found(checkpoint, tmp_path, monkeypatch):
    right = huggingface.make_processor
    monkeypatch.setattr(
        huggingface, 'make_processor', lambda subject: right(subject) | dict(image_mean=[0.5] * 3)
    )
    with pytest.raises(UserError, match='AutoImageProcessor: pixels differ'):
        export(checkpoint('pretraining'), tmp_path / 'hub')
    assert not list(tmp_path.iterdir())


def test_existing_folder__is_kept_unless_told(checkpoint, tmp_path):
    path, folder = checkpoint('classification'), tmp_path / 'hub'
    folder.mkdir()  # an empty one is free
    export(path, folder, to='beit_mm')
    before = (folder / 'model.safetensors').read_bytes()
    with pytest.raises(UserError, match='--overwrite'):
        export(checkpoint('pretraining'), folder, to='beit_mm')
    with pytest.raises(UserError, match='place for a tokenizer'):  # an error keeps the old one
        export(checkpoint('tokenizer'), folder, to='timm', overwrite=True)
    assert (folder / 'model.safetensors').read_bytes() == before
    export(checkpoint('pretraining'), folder, to='timm', overwrite=True)
    assert sorted(file.name for file in folder.iterdir()) == [
        'README.md',
        'config.json',
        'model.safetensors',
    ]
    (folder / 'thesis.tex').write_text('mine')
    with pytest.raises(UserError, match='thesis.tex'):
        export(path, folder, to='beit_mm', overwrite=True)
    assert (folder / 'thesis.tex').read_text() == 'mine'
    assert [file.name for file in tmp_path.iterdir()] == ['hub']


@pytest.mark.parametrize(
    ('to', 'package', 'extra'),
    [
        ('huggingface', 'transformers', 'huggingface'),
        ('timm', 'timm', 'timm'),
        ('onnx', 'onnxscript', 'onnx'),
        ('onnx', 'onnxruntime', 'onnx'),
        ('beit_mm', 'safetensors', 'huggingface'),
    ],
)
def test_missing_library__is_named_with_its_extra(
    checkpoint, tmp_path, monkeypatch, to, package, extra
):
    model = load_model(checkpoint('classification'))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf'{package}.*beit_mm\[{extra}\]'):
        export(model, tmp_path / 'hub', to=to)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize('to', ['huggingface', 'timm', 'beit_mm'])
@pytest.mark.parametrize('name', TASKS)
def test_card__says_what_is_known_and_its_code_runs(
    checkpoint, tmp_path, picture, monkeypatch, name, to
):
    if (name, to) == ('segmentation', 'timm'):
        return
    model = load_model(checkpoint(name))
    export(model, tmp_path / 'hub', to=to)
    text = (tmp_path / 'hub' / 'README.md').read_text()
    for word in model.classes or []:
        assert f'| {word} |' in text
    if name == 'segmentation':
        assert '| 1 | tree | 0, 200, 0 |' in text
    if name == 'pretraining':
        assert model.description['tokenizer']['sha256'] in text
    picture.save(tmp_path / 'image.jpg')
    (tmp_path / 'images').mkdir()
    picture.save(tmp_path / 'images' / 'a.png')
    monkeypatch.chdir(tmp_path)
    exec(re.search(r'```python\n(.*?)```', text, re.DOTALL)[1], {})


def test_command__prints_what_was_compared(checkpoint, tmp_path, capsys):
    command.main([str(checkpoint('pretraining')), str(tmp_path / 'hub'), '--to', 'timm'])
    out = capsys.readouterr().out
    assert 'features_only: differs by at most' in out and f'wrote {tmp_path / "hub"}' in out
    assert 'note: timm masks no patches' in out


def test_command__takes_the_config_of_a_checkpoint_that_does_not_say_it(tmp_path, capsys):
    saved(classifier(), tmp_path / 'a.pth')
    content = torch.load(tmp_path / 'a.pth')
    del content['meta']['beit_mm']
    torch.save(content, tmp_path / 'old.pth')
    classifier().dump(tmp_path / 'config.py')
    said = [str(tmp_path / 'old.pth'), str(tmp_path / 'hub'), '--to', 'beit_mm']
    with pytest.raises(UserError, match='give the config of its training'):
        command.main(said)
    command.main([*said, '--config', str(tmp_path / 'config.py')])
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    ours = load_model(tmp_path / 'a.pth').classify(images)
    theirs = load_model(tmp_path / 'hub').classify(images)
    assert (ours.pred_scores == theirs.pred_scores).all() and theirs.classes == ours.classes


@pytest.mark.parametrize('stored', ['MMEngine', 'plain'])
def test_card__tells_data_and_metrics_of_the_training(tmp_path, stored):
    path = tmp_path / 'trained.pth'
    saved(classifier(), path)
    content = torch.load(path)
    hub = MessageHub('a hub of its own')
    for value in (50.0, 81.25):
        hub.update_scalar('val/accuracy/top1', value)
    hub.update_scalar('train/loss', 0.5)
    content['message_hub'] = hub.state_dict()
    if stored == 'plain':  # as AtomicCheckpointHook writes it
        content['message_hub'] = plain_message_hub(content['message_hub'], 9)
    content['meta'] |= dict(
        epoch=3,
        iter=120,
        cfg="import os\ntrain_dataloader = dict(batch_size=2, dataset=dict(type='RepeatDataset',"
        " dataset=dict(type='CustomDataset', data_root='data/ants', pipeline=[])))\nos.abort()\n",
    )
    torch.save(content, path)
    export(path, tmp_path / 'hub', to='beit_mm')
    text = (Path(tmp_path) / 'hub' / 'README.md').read_text()
    for line in (
        '| data: type | CustomDataset |',
        '| data: data_root | data/ants |',
        '| iter | 120 |',
        '| val/accuracy/top1 (last before this file) | 81.25 |',
    ):
        assert line in text
    assert 'train/loss' not in text
    # The validation of this very checkpoint was logged after it had been saved.
    curves = (dict(kind='val', iter=n, step=n, **{'accuracy/top1': n / 4}) for n in (100, 120))
    (tmp_path / 'scalars.jsonl').write_text(''.join(f'{json.dumps(line)}\n' for line in curves))
    export(path, tmp_path / 'hub', to='beit_mm', overwrite=True)
    text = (Path(tmp_path) / 'hub' / 'README.md').read_text()
    assert '| val/accuracy/top1 | 30 |' in text and 'last before' not in text


def test_beit_mm__a_plugin_that_is_in_memory_is_proved(tmp_path):
    config = pretraining()
    config.model.tokenizer = dict(type='BrightnessTokenizer', vocab_size=16, stride=8)
    path = tmp_path / 'a.pth'
    saved(config, path)
    with pytest.raises(UserError, match='allow'):
        load_model(path)
    export(load_model(path, allow=['BrightnessTokenizer']), tmp_path / 'out', to='beit_mm')
    assert load_model(tmp_path / 'out', allow=['BrightnessTokenizer']).task == 'pretraining'
