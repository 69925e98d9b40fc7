"""No way of loading runs code; every payload here only makes a folder."""

import io
import os
import pickle
import threading
import zipfile
from argparse import Namespace
from collections import OrderedDict
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.dataset import DefaultSampler
from mmengine.infer import BaseInferencer
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import TRANSFORMS
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from torch.utils.data import Dataset

from beit_mm.checkpoints import (
    UnsafeCheckpointError,
    fetch,
    peek,
    read_checkpoint,
    read_description,
    trust_checkpoints,
    write_weights,
)
from beit_mm.checkpoints import download as download_module
from beit_mm.checkpoints.download import HTTPSRedirects, cache_path, file_digest


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture
def marker(tmp_path):
    """The folder that must not appear."""
    path = tmp_path / 'payload-ran'
    yield path
    assert not path.exists()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch-home'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)


class Attribute:
    """Asks for an attribute when it is unpickled."""

    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return getattr, self.args


def places(payload):
    weight = torch.ones(2)
    history = HistoryBuffer([1.0], [1])
    history.extra = payload
    objects = np.empty(1, dtype=object)
    objects[0] = payload
    ordered = OrderedDict(weight=weight)
    ordered.attribute = payload
    return dict(
        top=payload,
        beside=dict(state_dict=dict(weight=weight), extra=payload),
        deep=dict(state_dict=dict(weight=weight), meta=[dict(a=(1, [payload]))]),
        as_key=dict(state_dict=dict(weight=weight), meta=dict([(frozenset([payload]), 1)])),
        attribute=dict(state_dict=ordered),
        history=dict(state_dict=dict(weight=weight), message_hub=dict(x=history)),
        array=dict(state_dict=dict(weight=weight), meta=objects),
    )


PLACES = ['top', 'beside', 'deep', 'as_key', 'attribute', 'history', 'array']


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('place', PLACES)
def test_local_file__is_refused_with_advice(tmp_path, marker, place, legacy):
    path = tmp_path / 'payload.pth'
    content = places(Payload(marker))[place]
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    for read in (read_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises((UnsafeCheckpointError, ValueError), match='payload.pth'):
            read(str(path))


@pytest.mark.parametrize(
    'args', [(HistoryBuffer, '__init__'), (torch.Size, 'count'), ('a', 'join')]
)
def test_getattr__is_answered_for_statistics_alone(tmp_path, args):
    torch.save(dict(state_dict={}, a=Attribute(*args)), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='asks for the attribute'):
        read_checkpoint(tmp_path / 'a.pth')


def test_payload__is_a_live_one(tmp_path):
    marker = tmp_path / 'payload-ran'
    torch.save(dict(a=Payload(marker)), tmp_path / 'payload.pth')
    torch.load(tmp_path / 'payload.pth', weights_only=False)
    assert marker.is_dir()


def test_plain_pickle_and_wrong_suffixes__are_refused(tmp_path, marker):
    data = pickle.dumps(Payload(marker))
    for name in ('model.pkl', 'model.pth', 'model.safetensors', 'pytorch_model.bin'):
        (tmp_path / name).write_bytes(data)
        with pytest.raises((UnsafeCheckpointError, ValueError), match=name):
            read_checkpoint(tmp_path / name)


def test_init_cfg_and_load_checkpoint__refuse_too(tmp_path, marker):
    class Module(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.linear = nn.Linear(2, 2)

    path = str(tmp_path / 'payload.pth')
    torch.save(dict(state_dict=Module().state_dict(), more=Payload(marker)), path)
    for prefix in (None, 'linear.'):
        init_cfg = dict(type='Pretrained', checkpoint=path, prefix=prefix)
        with pytest.raises(UnsafeCheckpointError):
            Module(init_cfg=init_cfg).init_weights()
    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint(Module(), path)


def test_trust__runs_it_where_the_user_says_so(tmp_path, monkeypatch, caplog):
    path = tmp_path / 'trusted.pth'
    torch.save(dict(a=Payload(tmp_path / 'first')), path)
    with trust_checkpoints():
        read_checkpoint(path)
    assert (tmp_path / 'first').is_dir()
    torch.save(dict(a=Payload(tmp_path / 'second')), path)
    with pytest.raises(UnsafeCheckpointError, match='BEIT_MM_TRUST_CHECKPOINT'):
        read_checkpoint(path)
    monkeypatch.setenv('BEIT_MM_TRUST_CHECKPOINT', '1')
    read_checkpoint(path)
    assert (tmp_path / 'second').is_dir()


# ---- what a genuine checkpoint of MMEngine holds ----


class Numbers(Dataset):
    metainfo = dict(classes=('a', 'b'), palette=np.arange(3))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.full((2,), float(index)))


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.linear(torch.stack(inputs)).square().mean())


def runner(work_dir, **kwargs):
    return Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Numbers(),
            sampler=dict(type=DefaultSampler, shuffle=False),
            batch_size=2,
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=kwargs.pop('max_iters', 2)),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=dict(type='LinearLR', by_epoch=False, end=4),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
        default_scope='mmengine',
        experiment_name=f'safe-reading-{work_dir.name}-{kwargs.get("resume", False)}',
        **kwargs,
    )


def test_resume__runs_no_config_text_and_resumes(tmp_path, marker):
    runner(tmp_path / 'first').train()
    path = tmp_path / 'first' / 'iter_2.pth'
    checkpoint = read_checkpoint(path)
    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert type(history) is HistoryBuffer and history.data[0].shape == (2,)
    assert isinstance(history.mean(), float | np.floating)
    assert checkpoint['meta']['dataset_meta']['palette'].tolist() == [0, 1, 2]

    code = f'import os\nos.mkdir({str(marker)!r})\n'
    checkpoint['meta']['config'] = code
    checkpoint['meta']['cfg'] = code
    checkpoint['message_hub']['runtime_info']['cfg'] = code
    torch.save(checkpoint, path)
    again = runner(tmp_path / 'second', max_iters=4, resume=True, load_from=str(path))
    again.train()
    assert again.iter == 4
    stored = read_checkpoint(path)
    assert 'config' not in stored['meta'] and 'cfg' not in stored['meta']
    assert 'cfg' not in stored['message_hub']['runtime_info']
    state = checkpoint['optimizer']['state'][0]
    assert torch.equal(stored['optimizer']['state'][0]['exp_avg'], state['exp_avg'])


class Inferencer(BaseInferencer):
    """Of a checkpoint alone: the model and the pipeline are those of its config text."""

    def _init_pipeline(self, cfg):
        return [TRANSFORMS.build(step) for step in cfg.get('pipeline', [])]

    def visualize(self, *args, **kwargs):
        pass

    def postprocess(self, *args, **kwargs):
        pass


MODEL = "model = dict(type='mmengine.BaseModule')\n"


@pytest.mark.parametrize(
    'text',
    [
        "import os; os.mkdir('FOLDER')",
        "model = dict(type='os.mkdir', path='FOLDER')",
        "model = dict(type='mmengine.mkdir_or_exist', dir_name='FOLDER')",
        "model = dict(type='subprocess.Popen', args=['mkdir', 'FOLDER'])",
        MODEL + "pipeline = [dict(type='os.mkdir', path='FOLDER')]",
        MODEL
        + "pipeline = [dict(type='mmpretrain.torchvision/ConvertImageDtype', "
        + """dtype="float32 and __import__('os').mkdir('FOLDER')")]""",
    ],
)
@pytest.mark.parametrize('place', ['message_hub', 'meta'])
def test_inferencer__builds_nothing_that_a_checkpoint_says(tmp_path, marker, text, place):
    """Not even of values alone: a registry imports and calls what ``type`` names."""
    config = dict(cfg=text.replace('FOLDER', str(marker)))
    content = dict(meta=config)
    if place == 'message_hub':
        content = dict(message_hub=dict(runtime_info=config))
    torch.save(dict(state_dict=dict(a=torch.ones(2)), **content), tmp_path / 'a.pth')
    with pytest.raises((ValueError, AssertionError), match='config'):
        Inferencer(weights=str(tmp_path / 'a.pth'))


def test_peek__and_descriptions_run_nothing(tmp_path, marker):
    for place in ('meta', 'state_dict', 'args'):
        path = tmp_path / f'{place}.pth'
        torch.save({'state_dict': {}, 'meta': {}, place: dict(beit_mm=Payload(marker))}, path)
        with pytest.raises(UnsafeCheckpointError, match=path.name):
            peek(path)
        assert read_description(path) is None


def test_config_text__stays_where_the_author_is_trusted(tmp_path):
    text = "model = dict(type='A')"
    torch.save(dict(state_dict={}, meta=dict(cfg=text, epoch=3)), tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['meta'] == dict(epoch=3)
    assert peek(tmp_path / 'a.pth')['meta']['cfg'] == text
    with trust_checkpoints():
        assert read_checkpoint(tmp_path / 'a.pth')['meta']['cfg'] == text


def test_options_of_a_training__are_read_and_payloads_in_them_are_not(tmp_path, marker):
    """The original's checkpoints of a training have its command line beside the model."""
    path = tmp_path / 'checkpoint-99.pth'
    options = Namespace(lr=1e-3, betas=[0.9, 0.999], model='beit_base')
    torch.save(dict(model=dict(weight=torch.ones(2)), args=options, epoch=99), path)
    assert read_checkpoint(path)['args'] == options
    options.model = Payload(marker)
    torch.save(dict(model=dict(weight=torch.ones(2)), args=options), path)
    with pytest.raises(UnsafeCheckpointError, match='checkpoint-99'):
        read_checkpoint(path)


def test_numpy__values_survive_bit_for_bit(tmp_path):
    values = dict(
        float=np.float64(0.1),
        half=np.float16(0.5),
        int=np.int64(-3),
        bool=np.bool_(True),
        array=np.random.rand(3, 4),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        big_endian=np.arange(3, dtype='>i4'),
        text=np.array(['a', 'bc']),
        empty=np.zeros((0, 2)),
    )
    torch.save(dict(state_dict={}, values=values), tmp_path / 'numpy.pth')
    stored = read_checkpoint(tmp_path / 'numpy.pth')['values']
    for name, value in values.items():
        plain = pickle.loads(pickle.dumps(value, 2))  # numpy makes the byte order the machine's
        assert stored[name].dtype == plain.dtype and type(stored[name]) is type(value), name
        np.testing.assert_array_equal(stored[name], value)
    assert np.dtype('float64').byteorder == '='  # the machine's own is not touched


# ---- downloads ----


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A loopback server of tmp_path/www, which stands behind https addresses."""
    folder = tmp_path / 'www'
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    httpd = HTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    here = f'http://127.0.0.1:{httpd.server_port}/'
    monkeypatch.setattr(
        download_module,
        'open_address',
        lambda address, watch: urlopen(address.replace('https://host/', here)),
    )
    yield folder, here
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_url__payload_is_refused_and_plain_http_is_not_asked(server, hub, marker):
    folder, here = server
    torch.save(dict(a=Payload(marker)), folder / 'payload.pth')
    with pytest.raises(UnsafeCheckpointError):
        CheckpointLoader.load_checkpoint('https://host/payload.pth')
    with pytest.raises(ValueError, match='not an https address'):
        CheckpointLoader.load_checkpoint(f'{here}payload.pth')


def test_url__digest_is_checked_of_the_download_and_of_the_copy(server, hub):
    folder, _ = server
    torch.save(dict(a=torch.ones(2)), folder / 'a.pth')
    digest = file_digest(folder / 'a.pth')
    url = f'https://host/a.pth#sha256={digest.upper()}'
    with pytest.raises(ValueError, match='expected 0000'):
        fetch(f'https://host/a.pth#sha256={"0" * 64}')
    assert not cache_path('https://host/a.pth').exists()
    assert torch.equal(CheckpointLoader.load_checkpoint(url)['a'], torch.ones(2))
    (folder / 'a.pth').unlink()  # from here on the copy serves
    assert fetch(url) == fetch('https://host/a.pth')
    cache_path('https://host/a.pth').write_bytes(b'exchanged')
    with pytest.raises(ValueError, match=digest):
        fetch(url)
    with pytest.raises(ValueError, match='64 hexadecimal'):
        fetch('https://host/a.pth#sha256=abc')


def test_url__same_name_on_two_hosts_is_two_files():
    assert cache_path('https://a/encoder.pkl') != cache_path('https://b/encoder.pkl')


def test_url__missing_file_says_how_to_do_without(server, hub):
    with pytest.raises(OSError, match='give the local path'):
        fetch('https://host/none.pth')
    assert not list(cache_path('https://host/none.pth').parent.iterdir())


def test_redirection__to_plain_http_is_refused():
    request = Request('https://host/a.pth')
    go = partial(HTTPSRedirects().redirect_request, request, io.BytesIO(), 302, 'Found', {})
    assert go('https://elsewhere/a.pth').full_url == 'https://elsewhere/a.pth'
    for address in ('http://host/a.pth', 'ftp://host/a.pth', 'file:///etc/passwd'):
        with pytest.raises(URLError, match='not an https address'):
            go(address)


def test_every_scheme_of_mmengine_has_a_safe_loader():
    loaders = {loader.__module__ for loader in CheckpointLoader._schemes.values()}
    assert loaders == {'beit_mm.checkpoints.loaders'}


# ---- damaged files, weights ----


def test_damaged_and_missing_files__are_named(tmp_path):
    path = tmp_path / 'cut.pth'
    torch.save(dict(state_dict=dict(a=torch.rand(1000))), path)
    data = path.read_bytes()
    for content in (data[:700], b'', b'<html>not found</html>'):
        path.write_bytes(content)
        with pytest.raises((ValueError, UnsafeCheckpointError), match='cut.pth'):
            read_checkpoint(path)
    with pytest.raises(FileNotFoundError, match='none.pth'):
        read_checkpoint(tmp_path / 'none.pth')
    torch.jit.script(nn.Linear(1, 1)).save(path)
    with pytest.raises(ValueError, match='TorchScript'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'<!DOCTYPE html><html>404</html>', 'not a checkpoint, a web page'),
        (b'\n\n<html>404</html>', 'not a checkpoint, a web page'),
        (b'Not Found', "not a checkpoint; it begins with b'Not Found'"),
        (b'version https://git-lfs.github.com/spec/v1', 'not a checkpoint; .*git-lfs'),
    ],
)
def test_web_pages_and_texts__are_not_called_unsafe(tmp_path, content, words):
    (tmp_path / 'page.pth').write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_checkpoint(tmp_path / 'page.pth')
    assert not isinstance(caught.value, UnsafeCheckpointError)


@pytest.mark.parametrize('dtype', ['float8_e4m3fn', 'float8_e5m2'])
def test_float8__is_read_and_checked(tmp_path, dtype):
    tensor = torch.ones(3).to(getattr(torch, dtype))
    torch.save(dict(state_dict=dict(a=tensor)), tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['state_dict']['a'].dtype == tensor.dtype
    tensor = torch.tensor([1, float('nan')]).to(tensor.dtype)
    torch.save(dict(state_dict=dict(a=tensor)), tmp_path / 'b.pth')
    with pytest.raises(ValueError, match='the first is a'):
        read_checkpoint(tmp_path / 'b.pth')


def test_tensors_without_data_and_sparse_ones__are_refused_in_words(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.ones(2, device='meta'))), tmp_path / 'meta.pth')
    with pytest.raises(ValueError, match='meta.pth: a has a shape but no data'):
        read_checkpoint(tmp_path / 'meta.pth')
    torch.save(dict(state_dict=dict(a=torch.eye(2).to_sparse())), tmp_path / 'sparse.pth')
    with pytest.raises(ValueError, match='sparse.pth: a is of .*sparse'):
        read_checkpoint(tmp_path / 'sparse.pth')
    torch.save(dict(state_dict=dict(a=torch.ones(2))), tmp_path / 'data.pth')
    assert read_checkpoint(tmp_path / 'data.pth', map_location='meta')['state_dict']['a'].is_meta


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('key', ['state_dict', 'ema_state_dict', 'model_ema', 'model', None])
def test_non_finite_weights__are_refused(tmp_path, value, key):
    weights = dict(good=torch.ones(3), bad=torch.tensor([1.0, value]))
    torch.save(weights if key is None else {key: weights}, tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match='the first is bad'):
        read_checkpoint(tmp_path / 'bad.pth')


@pytest.mark.parametrize('name', ['w.safetensors', 'w.pth'])
def test_weights__round_trip_and_nothing_is_overwritten(tmp_path, name):
    shared = torch.rand(4)
    weights = dict(a=torch.rand(3, 2).T, b=shared, c=shared, d=torch.arange(3))
    weights['e'] = torch.rand(2).to(torch.bfloat16)
    write_weights(weights, tmp_path / name, dict(layout='beit_mm'))
    stored = read_checkpoint(tmp_path / name)
    stored = stored.get('state_dict', stored)
    assert set(stored) == set(weights)
    for key, tensor in weights.items():
        assert torch.equal(stored[key], tensor) and stored[key].dtype == tensor.dtype
    with pytest.raises(FileExistsError, match=name):
        write_weights(weights, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_safetensors__are_loaded_by_mmengine(tmp_path):
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    write_weights(first.state_dict(), tmp_path / 'linear.safetensors')
    load_checkpoint(second, str(tmp_path / 'linear.safetensors'), strict=True)
    assert torch.equal(first.weight, second.weight)


def test_zip_of_something_else__is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'x.pth', 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    with pytest.raises((ValueError, UnsafeCheckpointError), match='x.pth'):
        read_checkpoint(tmp_path / 'x.pth')
