"""What torch.save writes is read equal: plain values and tensors, in both of its formats."""

import random
from argparse import Namespace
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from fuzzing import prop
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from tiny_training import tiny_config

from beit_mm.checkpoints import inert_pickle, peek, read_checkpoint
from beit_mm.checkpoints.known_tensors import Storage, make_tensor_of_type

FORMATS = [(legacy, protocol) for legacy in (False, True) for protocol in (2, 3, 4, 5)]


def equal(a, b) -> bool:
    """Whether two values are the same in type, and in content bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride()
        return same and a.requires_grad == b.requires_grad and bits(a) == bits(b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, HistoryBuffer):
        return a.max_length == b.max_length and all(map(equal, a.data, b.data))
    if isinstance(a, (dict, Namespace)):
        x, y = (dict(v) if isinstance(v, dict) else vars(v) for v in (a, b))
        around = equal(vars(a), vars(b)) if type(a) is OrderedDict else True
        return around and list(x) == list(y) and all(equal(x[key], y[key]) for key in x)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b or (a != a and b != b)


def bits(tensor: torch.Tensor) -> bytes:
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous().clone()
    return tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b''


def stored(value, path, legacy=False, protocol=2):
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return read_checkpoint(path)


words = st.text(max_size=6)
leaves = (
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | words
    | st.binary(max_size=9) | st.complex_numbers() | st.binary(max_size=9).map(bytearray)
    | st.sets(st.integers()) | st.frozensets(words)
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(words | st.integers(-9, 2**60) | st.tuples(words, st.booleans()), inner)
        | st.dictionaries(words, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('round-trip')


@prop(few=60, value=values, form=st.sampled_from(FORMATS))
def test_plain_values(folder, value, form):
    value = dict(other=value)
    assert equal(stored(value, folder / 'a.pth', *form), value)


DTYPES = [
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.complex64, torch.complex128),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64),
]


@pytest.mark.parametrize('form', FORMATS)
@pytest.mark.parametrize('dtype', DTYPES)
def test_tensors__of_every_type(tmp_path, dtype, form):
    one_byte = dtype.itemsize == 1 and dtype.is_floating_point or dtype in DTYPES[-3:]
    if form[0] and one_byte:
        pytest.skip('torch.save has no legacy format of it')
    base = torch.randint(0, 2, (4, 6)).to(dtype)
    tensors = dict(base=base, row=base[1], columns=base[:, 1:3], transposed=base.T)
    tensors.update(empty=base[:0], scalar=base[2, 3], wide=base[:1].expand(5, 6))
    got = stored(dict(state_dict=tensors), tmp_path / 'a.pth', *form)['state_dict']
    assert equal(got, tensors)
    got['base'][1] = base[0]
    assert bits(got['row']) == bits(got['base'][1])  # they share their memory still


def others():
    torch.manual_seed(0)
    table = torch.rand(3, 2)
    tied = OrderedDict(a=table, b=table, c=table[1:])
    tied._metadata = OrderedDict({'': dict(version=1)})
    complexes = torch.view_as_complex(torch.rand(3, 2))
    named = torch.rand(2)
    named.origin = 'an attribute'
    return dict(
        tied=tied,
        module=nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).state_dict(),
        parameter=nn.Parameter(torch.rand(2)),
        frozen=nn.Parameter(torch.rand(2), requires_grad=False),
        gradient=torch.rand(2, requires_grad=True),
        conjugate=complexes.conj(),
        negative=complexes.conj().imag,
        torch=[torch.float32, torch.Size([1, 2]), torch.device('cuda', 1), torch.device('cpu')],
        schedule=Counter([3, 3, 8]),
        options=Namespace(lr=1e-3, betas=[0.9, 0.999], output=Path('work_dirs/a')),
        python_random=random.Random(1).getstate(),
        numpy_random=np.random.RandomState(1).get_state(),
        torch_random=torch.get_rng_state(),
        scalars=[np.float64(0.1), np.float32(2), np.int64(-3), np.bool_(True), np.str_('ä')],
        empty_text=np.str_(''),
        bytes=[np.bytes_(b'ab'), b'', bytearray()],
        arrays=[np.arange(6).reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.float16))],
        more=[np.array(['a', 'äöü']), np.zeros((0, 2)), np.array(3.0), np.array([True, False])],
        strided=np.arange(6)[::2],
        histories=[HistoryBuffer([1.0, 2.0], [1, 1]), HistoryBuffer(max_length=7)],
    )


@pytest.mark.parametrize('form', FORMATS)
@pytest.mark.parametrize('name', others())
def test_what_checkpoints_hold(tmp_path, name, form):
    value = others()[name]
    got = stored(dict(value=value), tmp_path / 'a.pth', *form)['value']
    assert equal(got, value)
    if name == 'tied':
        got['a'][1] = 7
        assert torch.equal(got['a'], got['b']) and torch.equal(got['c'], got['a'][1:])


@pytest.mark.parametrize('legacy', [False, True])
def test_peek__has_shapes_and_shared_memory_but_no_data(tmp_path, legacy):
    table = torch.rand(3, 2)
    path = tmp_path / 'a.pth'
    stored(dict(state_dict=dict(a=table, b=table.T), meta=dict(iter=3)), path, legacy)
    got = peek(path)
    a, b = got['state_dict'].values()
    assert a.is_meta and a.shape == (3, 2) and b.stride() == (1, 2)
    assert a.untyped_storage()._cdata == b.untyped_storage()._cdata
    assert got['meta'] == dict(iter=3)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(
    'target', ['cpu', None, torch.device('cpu'), 'meta', lambda storage, place: storage, {}]
)
def test_map_location__as_torch_takes_it(tmp_path, target, legacy):
    value = torch.rand(2, 3)
    torch.save(dict(a=value), tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    got = read_checkpoint(tmp_path / 'a.pth', map_location=target)['a']
    assert got.is_meta if target == 'meta' else torch.equal(got, value)


@pytest.mark.parametrize('legacy', [False, True])
def test_quantized_and_sparse__are_refused_in_words(tmp_path, legacy):
    quantized = torch.quantize_per_tensor(torch.rand(2), 0.1, 0, torch.quint8)
    for name, tensor in dict(quantized=quantized, sparse=torch.eye(2).to_sparse()).items():
        with pytest.raises(ValueError, match=f'a.pth: w is of a {name} .*save it again as dense'):
            stored(dict(state_dict=dict(w=tensor)), tmp_path / 'a.pth', legacy)


@pytest.mark.parametrize('legacy', [False, True])
def test_types_of_numbers__are_plain_values(tmp_path, legacy):
    """Those of quantized numbers too, and those that none of our tables names."""
    types = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    assert torch.quint8 in types and len(types) > 20
    named = {str(value): value for value in types}
    assert stored(dict(meta=named), tmp_path / 'a.pth', legacy)['meta'] == named


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('name', ['quint8', 'qint8', 'qint32', 'quint4x2'])
def test_quantized_tensors__of_any_type_are_refused_in_words(tmp_path, name, legacy):
    dtype = getattr(torch, name)
    zeros = torch.zeros(2, dtype=torch.float if name == 'quint4x2' else torch.int)
    values = torch.rand(2, 4)
    tensors = [torch.quantize_per_channel(values, torch.ones(2), zeros, 0, dtype)]
    if name != 'quint4x2':
        tensors.append(torch.quantize_per_tensor(values, 0.1, 0, dtype))
    for tensor in tensors:
        with pytest.raises(ValueError, match='a.pth.*(quantized|QUInt4x2Storage)'):
            stored(dict(state_dict=dict(w=tensor)), tmp_path / 'a.pth', legacy)


@pytest.mark.parametrize('name', ['quint8', 'qint32', 'quint4x2', 'bits8', 'bits1x8', 'uint4'])
def test_bytes__are_no_tensor_of_a_type_without_operators(name):
    """As a file may say by torch's function for types that have no class of storage."""
    storage = Storage(torch.uint8, torch.zeros(16, dtype=torch.uint8).untyped_storage(), 16)
    with pytest.raises(ValueError, match=f'a tensor of type torch.{name}'):
        make_tensor_of_type(storage, 0, (2,), (1,), False, None, getattr(torch, name))


@pytest.mark.parametrize('protocol', [2, 4])
def test_plain_data__cost_less_than_their_bytes_allow(tmp_path, monkeypatch, protocol):
    """Values that take the most memory for their bytes, without what each file may take at least.

    So no file of more of them is refused.
    """
    monkeypatch.setattr(inert_pickle, 'LEAST_BUDGET', 0)
    for number, value in enumerate(
        [
            [[i % 7, 1] for i in range(5000)],
            [str(i) for i in range(5000)],
            [dict(id=i, box=[0.5, 1.0, 2.0, 3.0], name='a') for i in range(1500)],
            [(i,) for i in range(5000)],
            [i % 2 == 0 for i in range(9000)],
            [np.float64(i) for i in range(3000)],
            {f'layer.{i}.weight': torch.ones(1) for i in range(900)},
            [nn.Parameter(torch.ones(())) for _ in range(900)],
            [HistoryBuffer([1.0], [1]) for _ in range(900)],
        ]
    ):
        got = stored(dict(value=value), tmp_path / f'{number}.pth', protocol=protocol)['value']
        assert equal(got, value)


def test_training__its_checkpoint_is_read_as_it_was_saved(tmp_path):
    """With optimizer, schedules, averaged weights, histories and the state of the loop."""
    Runner.from_cfg(tiny_config(tmp_path / 'run', steps=3)).train()
    path = tmp_path / 'run' / 'iter_3.pth'
    expected = torch.load(path, map_location='cpu', weights_only=False)
    for place in ('meta', 'message_hub'):
        for key in ('cfg', 'config'):
            expected[place].pop(key, None)
    expected['message_hub']['runtime_info'].pop('cfg', None)
    assert {'optimizer', 'ema_state_dict', 'param_schedulers'} <= set(expected)
    assert equal(read_checkpoint(path), expected)
    torch.save(expected, path, _use_new_zipfile_serialization=False)
    assert equal(read_checkpoint(path), expected)
