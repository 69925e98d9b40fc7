"""Exports to ONNX, run by ONNX Runtime on pixels, for batches of other sizes than the export's."""

import json
from shutil import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from checkpoints_of_models import saved, tokenizer

from beit_mm.apis import export, load_model
from beit_mm.apis.export import onnx as target
from beit_mm.contracts import UserError

pytestmark = pytest.mark.slow


def run(folder, pixels: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(folder / 'model.onnx')
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(images=pixels)), strict=True))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def exported(checkpoint, tmp_path_factory):
    """Return a function: the name of a model -> its folder, and what the export has found."""
    place, found = tmp_path_factory.mktemp('onnx'), {}

    def find(name: str):
        if name not in found:
            found[name] = export(checkpoint(name), place / name, to='onnx')
        return place / name, found[name]

    return find


@pytest.mark.parametrize('name', ['classification', 'segmentation', 'pretraining'])
def test_pixels_in__our_outputs_out(checkpoint, exported, images, name):
    model = load_model(checkpoint(name))
    model.transforms = model.transforms[:1]  # without resizing
    folder, found = exported(name)
    assert found.largest < 1e-4
    outputs = run(folder, images.transpose(0, 3, 1, 2).astype(np.float32))
    if model.task == 'classification':
        assert np.allclose(outputs['scores'], model.classify(images).pred_scores, atol=1e-5)
    elif model.task == 'segmentation':
        masks = np.stack(model.segment(images).masks)
        assert (outputs['labels'] == masks).mean() > 0.999
        assert outputs['logits'].shape == (5, 3, 32, 32)
    else:
        features = model.embed(images).features
        assert np.allclose(outputs['embedding'], features, atol=1e-4 * np.abs(features).max())
    facts = {fact.key: fact.value for fact in onnx.load(folder / 'model.onnx').metadata_props}
    assert facts['task'] == model.task and json.loads(facts['size']) == [32, 32]
    assert facts['channel_order'] == 'RGB'
    assert json.loads(facts.get('classes', 'null')) == model.classes
    assert json.loads(facts.get('palette', 'null')) == model.palette


def test_window__is_inside(checkpoint, exported):
    folder, found = exported('signed')
    assert found.largest < 1e-4 and not any('window' in note for note in found.notes)
    values = np.random.default_rng(0).normal(-300, 900, (3, 32, 32, 1)).round().astype(np.float32)
    ours = load_model(checkpoint('signed')).classify(values).pred_scores
    scores = run(folder, values.transpose(0, 3, 1, 2))['scores']
    assert np.allclose(scores, ours, atol=1e-5)
    facts = {fact.key: fact.value for fact in onnx.load(folder / 'model.onnx').metadata_props}
    assert (facts['window'], facts['white']) == ('[-1000, 400]', '400')
    assert '-1000 is black, 400 white' in (folder / 'README.md').read_text()


def test_tokenizer_of_bgr__gives_the_same_ids(tmp_path, images):
    saved(tokenizer(bgr=False), tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth')
    export(model, tmp_path / 'onnx', to='onnx')
    ids = run(tmp_path / 'onnx', images.transpose(0, 3, 1, 2).astype(np.float32))['ids']
    assert np.array_equal(ids, model.tokenize(images).ids)


def test_half_and_size__are_those_that_are_asked_for(checkpoint, tmp_path):
    path = checkpoint('pretraining')
    found = export(path, tmp_path / 'onnx', to='onnx', half=True, size=(24, 48))
    assert found.largest < 2e-2
    stored = onnx.load(tmp_path / 'onnx' / 'model.onnx').graph
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in stored.initializer}
    outputs = run(tmp_path / 'onnx', np.zeros((2, 3, 24, 48), np.float32))
    assert outputs['tokens'].shape == (2, 1 + 3 * 6, 32)


def test_file_that_computes_something_else__does_not_appear(
    checkpoint, exported, tmp_path, monkeypatch
):
    model = load_model(checkpoint('classification'))
    folder, _ = exported('classification')
    with torch.no_grad():
        model.module.head.fc.bias += 1
    monkeypatch.setattr(target, 'write', lambda subject, place: copy(folder / 'model.onnx', place))
    with pytest.raises(UserError, match='ONNX Runtime, logits: logits differ'):
        export(model, tmp_path / 'onnx', to='onnx')
    assert not list(tmp_path.iterdir())
