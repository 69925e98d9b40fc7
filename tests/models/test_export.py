"""Every model becomes a program of torch.export, a trace and an ONNX file for batches of any size.

Exported with 2 images, it gives for 1, 2 and 5 what the model itself gives.
"""

import copy
import io
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn as nn
from examples import TOKENIZERS, build
from mmengine.config import Config
from mmengine.registry import init_default_scope

from beit_mm.contracts import UserError
from beit_mm.models import BEiTEncoder
from beit_mm.registry import MODELS

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2)
SIZE, OTHER = (32, 48), (48, 40)  # 4 x 6 patches, which positions are made for, and 6 x 5


def encoder(**options) -> BEiTEncoder:
    model = BEiTEncoder(**dict(arch=ARCH, img_size=SIZE, patch_size=8, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


def images(size=SIZE, channels=3):
    return lambda batch: (torch.randn(batch, channels, *size),)


def masked(batch):
    return torch.randn(batch, 3, *SIZE), torch.rand(batch, 4, 6) < 0.5


FEATMAPS = dict(out_type='featmap', out_indices=(0, 1), final_norm=True)
ENCODERS = dict(
    without=(dict(rel_pos=None, layer_scale_init=None), images()),
    shared=(dict(), images()),
    masked=(dict(), masked),
    resized=(dict(rel_pos='per_layer', **FEATMAPS), images(OTHER)),
    absolute=(dict(rel_pos=None, abs_pos=True, in_channels=4), images(OTHER, 4)),
    bicubic=(dict(abs_pos=True, rel_pos_resize='bicubic', qkv_bias=False), images(OTHER)),
)


def program(model, make):
    arguments, batch = make(2), torch.export.Dim('batch')
    shapes = tuple({0: batch} for _ in arguments)
    return torch.export.export(model, arguments, dynamic_shapes=shapes).module(), 1e-5


def traced(model, make):
    return torch.jit.trace(model, make(2), check_trace=False), 1e-5


def onnx_dynamo(model, make):
    arguments, batch, file = make(2), torch.export.Dim('batch'), io.BytesIO()
    shapes = tuple({0: batch} for _ in arguments)
    made = torch.onnx.export(model, arguments, dynamo=True, dynamic_shapes=shapes, verbose=False)
    made.save(file)
    return session(file), 1e-4


def onnx_trace(model, make):
    arguments, file = make(2), io.BytesIO()
    names = [f'in_{i}' for i in range(len(arguments))]
    axes = {name: {0: 'batch'} for name in names}
    torch.onnx.export(
        model, arguments, file, dynamo=False, input_names=names, dynamic_axes=axes, opset_version=18
    )
    return session(file), 1e-4


def session(file):
    run = onnxruntime.InferenceSession(file.getvalue())
    names = [node.name for node in run.get_inputs()]
    return lambda *tensors: run.run(
        None, {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    )


EXPORTERS = [
    program,
    traced,
    onnx_trace,
    pytest.param(onnx_dynamo, marks=pytest.mark.slow),
]
QUIET = pytest.mark.filterwarnings('ignore')  # the traces tell of every number that they fix


def as_list(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [torch.as_tensor(output) for output in outputs]


def check(exporter, model, make):
    exported, tolerance = exporter(model, make)
    for batch in (1, 2, 5):
        arguments = make(batch)
        with torch.no_grad():
            wanted, got = as_list(model(*arguments)), as_list(exported(*arguments))
        torch.testing.assert_close(got, wanted, atol=tolerance, rtol=tolerance)


@QUIET
@pytest.mark.parametrize('exporter', EXPORTERS)
@pytest.mark.parametrize('kind', ENCODERS)
def test_encoder(kind, exporter):
    if exporter is onnx_dynamo and kind in ('without', 'absolute', 'bicubic'):
        pytest.skip('it takes seconds, and is a program of torch.export before')
    options, make = ENCODERS[kind]
    check(exporter, encoder(**options), make)


class Decode(nn.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, ids):
        return self.tokenizer.decode(ids)


def tokenizer(name):
    """Return a tokenizer that has codes, and has not seen an image since it was loaded."""
    trained = build(TOKENIZERS, name).train()
    if name not in ('RandomProjectionTokenizer', 'DALLETokenizer'):
        trained.loss(torch.rand(8, 3, 16, 16))
    fresh = build(TOKENIZERS, name)
    fresh.load_state_dict(trained.eval().state_dict())
    return fresh.eval()


@QUIET
@pytest.mark.parametrize('exporter', [program, onnx_trace])
@pytest.mark.parametrize('name', TOKENIZERS)
def test_tokenizer(name, exporter):
    model = tokenizer(name)
    check(exporter, model, lambda batch: (torch.rand(batch, 3, 16, 16),))
    if model.can_decode:
        grid = 16 // model.stride
        ids = lambda batch: (torch.randint(model.vocab_size, (batch, grid, grid)),)  # noqa: E731
        check(exporter, Decode(model), ids)


@QUIET
@pytest.mark.parametrize('name', ['VQKDTokenizer', 'ResidualVQTokenizer'])
def test_tokenizer__onnx(name):
    check(onnx_dynamo, tokenizer(name), lambda batch: (torch.rand(batch, 3, 16, 16),))


def shipped(path: str) -> nn.Module:
    """Return the model of a config with two layers, without the weights that it starts with."""
    config = Config.fromfile(CONFIGS / path)
    init_default_scope(config.default_scope)
    arch = dict(embed_dims=128, num_layers=2, num_heads=4)
    config.model.backbone.update(arch=arch, init_cfg=None)
    config.model.data_preprocessor = None
    model = MODELS.build(dict(config.model, type=f'{config.default_scope}.{config.model.type}'))
    return model.eval()


class Segment(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model.encode_decode(images, [dict(img_shape=images.shape[2:])])


@QUIET
@pytest.mark.parametrize('exporter', EXPORTERS[2:])
def test_classifier(exporter):
    model = shipped('classification/beit-micro-p8_beit_ft_digit-scenes-500.py')
    head = nn.Sequential()
    head.forward = lambda x: model.head(model.extract_feat(x)).softmax(-1)
    head.model = model
    check(exporter, head, images((64, 64)))


@QUIET
@pytest.mark.parametrize('exporter', EXPORTERS[2:])
def test_segmentor(exporter):
    model = shipped('segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py')
    check(exporter, Segment(model).eval(), images((64, 64)))


def fake(model, x):
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        model(x)


def inferred(model, x):
    with torch.inference_mode():
        model(x)


FIRST = dict(
    exported=lambda model, x: torch.export.export(model, (x,)),
    traced=lambda model, x: torch.jit.trace(model, x, check_trace=False),
    compiled=lambda model, x: torch.compile(model, backend='eager')(x),
    fake=fake,
    meta=lambda model, x: copy.deepcopy(model).to('meta')(x.to('meta')),
    moved_from_meta=lambda model, x: copy.deepcopy(model).to('meta').to_empty(device='cpu')(x),
    inferred=inferred,
)


@QUIET
@pytest.mark.parametrize('first', FIRST)
@pytest.mark.parametrize('size', [SIZE, pytest.param(OTHER, marks=pytest.mark.slow)])
def test_forward_after_what_only_records__is_real_and_trains(first, size):
    model, other = encoder(rel_pos='per_layer'), encoder(rel_pos='per_layer')
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        wanted = copy.deepcopy(model)(x)[0]
    FIRST[first](model, x)
    for again in (model, other):
        for _ in range(2):
            with torch.no_grad():
                assert torch.equal(again(x)[0], wanted)
        again.train()(x)[0].square().sum().backward()
        assert all(block.attn.relative_position_bias_table.grad.any() for block in again.blocks)


def test_any_height_and_width__refused_at_the_export():
    free = {2: torch.export.Dim('height'), 3: torch.export.Dim('width')}
    with pytest.raises(UserError, match=r'\[2, 3\].*mark the batch'):
        torch.export.export(encoder(), (torch.randn(2, 3, *SIZE),), dynamic_shapes=(free,))


@QUIET
def test_trace_of_another_shape__refused():
    """48 x 32 pixels are as many patches as 32 x 48, at other positions."""
    exported, _ = traced(encoder(), images())
    with pytest.raises(RuntimeError, match='expand'):
        exported(torch.randn(1, 3, *SIZE[::-1]))
