"""Checkpoint files that a reader must not believe, made of opcodes: none needs a class of ours.

Each tries one thing: memory that is not there, more memory than the file is worth, work without
an end, or a call of its choice.
"""

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Iterator

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
MAGIC += pickle.dumps(dict(protocol_version=1001, little_endian=True, type_sizes={}), 2)
MANY = 100_000  # so that the least budget does not do


def name(path: str) -> bytes:
    module, _, attribute = path.rpartition('.')
    return f'c{module}\n{attribute}\n'.encode()


def value(plain) -> bytes:
    """The opcodes of a plain value; bytes are opcodes already."""
    if isinstance(plain, bytes):
        return plain
    if isinstance(plain, tuple):
        return b'(' + b''.join(map(value, plain)) + b't'
    return pickle.dumps(plain, 4).split(b'\x94')[0][2:].rstrip(b'.').removeprefix(b'\x95')


def text(content: str) -> bytes:
    data = content.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def number(content: int) -> bytes:
    size = content.bit_length() // 8 + 1
    return b'\x8a' + bytes([size]) + content.to_bytes(size, 'little', signed=True)


def raw(content: bytes) -> bytes:
    """Bytes as protocol 2 writes them."""
    return call('_codecs.encode', text(content.decode('latin1')), text('latin1'))


def group(*items: bytes) -> bytes:
    return b'(' + b''.join(items) + b't'


def call(path: str, *args: bytes) -> bytes:
    return name(path) + group(*args) + b'R'


def put(place: int) -> bytes:
    return b'r' + struct.pack('<I', place)


def get(place: int) -> bytes:
    return b'j' + struct.pack('<I', place)


NO, YES, NONE, ZERO, ONE = b'\x89', b'\x88', b'N', b'K\x00', b'K\x01'


def entry(*content: bytes) -> bytes:
    """A checkpoint with one weight-free state dict and ``content`` in its meta data."""
    meta = b'](' + b''.join(content) + b'e'
    return b'\x80\x02}(' + text('state_dict') + b'}' + text('meta') + meta + b'u.'


def dtype(code: str, size: int = -1, flags: int = 0, order: str = '<', fields=NONE) -> bytes:
    state = number(4), text(order), NONE, NONE, fields, number(size), number(size), number(flags)
    return call('numpy.dtype', text(code), NO, YES) + group(*state) + b'b'


def array(kind: bytes, shape: tuple, data: bytes) -> bytes:
    start = call(
        'numpy._core.multiarray._reconstruct', name('numpy.ndarray'), group(ZERO), raw(b'b')
    )
    return start + group(ONE, group(*map(number, shape)), kind, NO, raw(data)) + b'b'


def storage(numel: int = 1, kind: str = 'FloatStorage', *more: bytes, key: str = '0') -> bytes:
    pid = text('storage'), name(f'torch.{kind}'), text(key), text('cpu'), number(numel), *more
    return group(*pid) + b'Q'


def tensor(numel=1, offset=0, size=(1,), stride=(1,), kind='FloatStorage', more=()) -> bytes:
    return call(
        'torch._utils._rebuild_tensor_v2',
        storage(numel, kind, *more),
        number(offset),
        group(*map(number, size)),
        group(*map(number, stride)),
        NO,
        call('collections.OrderedDict'),
    )


def doubled(times: int, of_lists: bool = False) -> bytes:
    """Containers of the one before, twice: two to the power of ``times`` ways through the last."""
    pair = get(1) + get(1) + b'\x86'
    if of_lists:
        pair = b'](' + get(1) + get(1) + b'e'
    return ONE + put(1) + (pair + put(1)) * times


def archive(content: bytes, records: dict | None = None, kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', kind) as written:
        written.writestr('a/data.pkl', content)
        for key, data in {'data/0': bytes(4), 'version': b'3\n', **(records or {})}.items():
            written.writestr(f'a/{key}', data)
    return file.getvalue()


def legacy(content: bytes, keys: list[str] = (), data: bytes = b'') -> bytes:
    return MAGIC + content + pickle.dumps(list(keys), 2) + data


def module(state: bytes) -> bytes:
    """An object of a class that is not there, with a state."""
    return name('some.Module') + b')\x81' + state + b'b'


def children(*pairs: bytes) -> bytes:
    items = text('_modules') + b'}(' + b''.join(pairs) + b'u'
    return b'}(' + text('_parameters') + b'}' + text('w') + tensor() + b's' + items + b'u'


def shared_modules(times: int) -> bytes:
    steps = [module(children()), put(1)]
    for _ in range(times):
        pairs = text('a') + get(1) + text('b') + get(1)
        steps += [b'0', module(children(pairs)), put(1)]
    return b'\x80\x02' + b''.join(steps) + b'.'


def history(state: bytes) -> bytes:
    return name('mmengine.logging.history_buffer.HistoryBuffer') + b')\x81' + state + b'b'


def numpy_kinds() -> Iterator[tuple[str, bytes]]:
    eight = b'A' * 8
    objects = call('numpy.ndarray', group(ONE), text('O'), call('builtins.bytearray', raw(eight)))
    yield 'object array over bytes', entry(call('builtins.set', objects))
    counted = dtype('f8', size=8, flags=63)
    yield 'numbers with references', entry(call('builtins.set', array(counted, (1,), eight)))
    yield 'dtype class', entry(call('numpy.dtypes.Float64DType') + group(ZERO) + b'b')
    yield 'object dtype', entry(array(dtype('O8', order='|', flags=63), (1,), eight))
    yield (
        'object number',
        entry(call('numpy._core.multiarray.scalar', dtype('O8', flags=63), raw(eight))),
    )
    yield 'structured dtype', entry(array(dtype('f4,f4'), (1,), eight))
    yield 'dtype of an array', entry(array(dtype('(9,)f8'), (1,), bytes(72)))
    yield 'dtype with fields', entry(array(dtype('V8', 8, fields=b'}'), (1,), eight))
    yield 'dates', entry(array(dtype('M8'), (1,), eight))
    yield 'booleans of 65', entry(array(dtype('b1', order='|'), (8,), eight))
    yield 'characters beyond Unicode', entry(array(dtype('U1', 4), (2,), b'\xff' * 8))
    yield 'text without size', entry(array(dtype('S0', 0, order='|'), (2**40,), b''))
    yield 'array beyond its bytes', entry(array(dtype('f8'), (2**40,), eight))
    yield 'negative shape', entry(array(dtype('f8'), (-1, -1), eight))
    yield (
        'number beyond its bytes',
        entry(call('numpy._core.multiarray.scalar', dtype('S2147483647', order='|'), raw(b'a'))),
    )
    yield (
        'array of a subclass',
        entry(
            call(
                'numpy._core.multiarray._reconstruct', name('numpy.memmap'), group(ZERO), raw(b'b')
            )  # fmt: skip
        ),
    )
    yield (
        'array of a dtype alone',
        entry(
            call('numpy._core.numeric._frombuffer', raw(eight), text('O'), group(ONE), text('C'))
        ),
    )
    yield 'history of no arrays', entry(history(b'}' + text('max_length') + ONE + b's'))
    yield 'history of its methods', entry(history(b'}' + text('update') + ONE + b's'))


def tensor_kinds() -> Iterator[tuple[str, bytes]]:
    for kind in ('torch.storage.UntypedStorage', 'torch.FloatTensor', 'torch.Tensor'):
        yield f'{kind} of a size', entry(call(kind, number(2**31)))
    yield 'typed storage', entry(call('torch.storage.TypedStorage', number(2**30)))
    yield 'storage of 2**30', entry(tensor(2**30))
    yield 'storage of a negative size', entry(tensor(-1))
    yield (
        'storage of no type',
        entry(group(text('storage'), ONE, text('0'), text('cpu'), ONE) + b'Q'),
    )
    yield 'tensor beyond its storage', entry(tensor(size=(2,)))
    yield 'tensor before its storage', entry(tensor(offset=-1))
    yield 'negative stride', entry(tensor(size=(2,), stride=(-1,)))
    yield 'size that overflows', entry(tensor(size=(2**62, 2**62), stride=(0, 0)))
    yield 'stride that overflows', entry(tensor(size=(2**33, 1), stride=(2**33, 1)))
    wide = tensor(size=(2**40,), stride=(0,))
    yield 'expanded to 4 GiB', entry(tensor(size=(2**30,), stride=(0,)))
    yield 'expanded parameter', entry(call('torch.nn.parameter.Parameter', wide))
    shared = tensor(size=(2**20,), stride=(0,)) + put(1)
    yield 'expanded, many names', entry(shared, get(1) * 4000)
    own = b'}(' + text('_parameters') + b'}' + text('w') + wide + b's' + text('_modules') + b'}u'
    yield 'expanded in a module', b'\x80\x02' + module(own) + b'.'
    for kind in ('builtins.set', 'builtins.bytearray', 'torch.Size', 'collections.Counter'):
        yield f'{kind} of a wide tensor', entry(call(kind, wide))
    yield (
        'meta tensor that overflows',
        entry(
            call(
                'torch._utils._rebuild_meta_tensor_no_storage',
                name('torch.float32'),
                group(number(2**62), number(2**62)),
                group(ONE, ONE),
                NO,
            )
        ),
    )
    yield (
        'sparse tensor',
        entry(
            call(
                'torch._utils._rebuild_sparse_tensor',
                call('torch.serialization._get_layout', text('torch.sparse_coo')),
                group(tensor(), tensor(), group(number(2**40))),
            )
        ),
    )
    yield (
        'subclass',
        entry(
            call(
                'torch._utils._rebuild_wrapper_subclass',
                name('torch.Tensor'),
                name('torch.float32'),
                group(number(2**40)),
                group(ONE),
                ZERO,
                text('torch.strided'),
                text('cpu'),
                NO,
            )
        ),
    )
    yield (
        'nested tensor',
        entry(
            call('torch._utils._rebuild_nested_tensor', *[tensor()] * 4),
        ),
    )
    yield (
        'wide tensor in another type',
        entry(
            call(
                'torch._utils._rebuild_device_tensor_from_cpu_tensor',
                wide,
                name('torch.float64'),
                text('cpu'),
                NO,
            )
        ),
    )
    yield (
        'state of a tensor',
        entry(tensor() + group(storage(), ZERO, group(ONE), group(ONE)) + b'b'),
    )
    yield 'items of a tensor', entry(tensor() + ZERO + ONE + b's')


def memory_kinds() -> Iterator[tuple[str, bytes]]:
    yield 'bytearray(2 GB)', entry(call('builtins.bytearray', number(2**31)))
    yield 'bytes(2 GB)', entry(call('builtins.bytes', number(2**31)))
    yield 'BYTEARRAY8', entry(b'\x96' + struct.pack('<Q', 2**31))
    yield 'BINBYTES8', entry(b'\x8e' + struct.pack('<Q', 2**40))
    yield 'BINUNICODE8', entry(b'\x8d' + struct.pack('<Q', 2**40))
    for title, code in dict(set=b'\x8f', dict=b'}', list=b']', mark=b'(').items():
        yield f'many: {title}', entry(code * 4 * MANY)
    yield 'many: memo', entry(b'N' + b'\x94' * 4 * MANY)
    yield 'many: nested tuple', entry(b'N' + b'\x85' * 4 * MANY)
    yield 'many: names', entry(b'ca\nb\n' * MANY)
    yield (
        'many: objects',
        entry(name('a.b') + put(1) + b')' + put(2) + b'00', (get(1) + get(2) + b'R') * MANY),
    )
    start = name('collections.OrderedDict') + put(1) + b')' + put(2) + b'00'
    yield 'many: dicts', entry(start, b'h\x01h\x02R' * 8 * MANY)
    megabyte = text('a' * 2**20)
    again = (get(1) + get(2) + b'R') * 4000
    start = name('_codecs.encode') + put(1) + group(megabyte, text('latin1')) + put(2)
    yield 'copies: bytes', entry(start, again)
    start = name('builtins.bytearray') + put(1) + group(raw(bytes(2**20))) + put(2)
    yield 'copies: bytearray', entry(start, again)
    start = name('builtins.set') + put(1) + group(b'](' + b''.join(map(number, range(9999))) + b'e')
    yield 'copies: set', entry(start + put(2), again)
    start = name('torch.Size') + put(1) + group(group(ONE * 2**17)) + put(2)
    yield 'copies: size', entry(start, again)
    start = name('collections.OrderedDict') + put(1) + group(b'](' + group(ONE, ONE) * 2**16 + b'e')
    yield 'copies: pairs', entry(start + put(2), again)
    plain, block = dtype('f8') + put(3), raw(bytes(2**20)) + put(4)
    state = group(ONE, group(number(2**17)), get(3), YES, get(4))
    made = call(
        'numpy._core.multiarray._reconstruct', name('numpy.ndarray'), group(ZERO), raw(b'b')
    )
    yield 'copies: array', entry(plain, block, (made + state + b'b') * 4000)


def endless_kinds() -> Iterator[tuple[str, bytes]]:
    yield 'nested pairs', entry(doubled(40))
    yield 'nested lists', entry(doubled(40, of_lists=True))
    yield 'pairs as a key', entry(doubled(40), b'}' + get(1) + NONE + b's')
    yield 'pairs in a set', entry(doubled(40), call('builtins.set', b']' + get(1) + b'a'))
    yield 'deep key', entry(b'}N' + b'\x85' * MANY + NONE + b's')
    yield 'deep member', entry(call('builtins.frozenset', b'](N' + b'\x85' * MANY + b'e'))
    yield 'deep tuple', entry(b'N' + b'\x85' * MANY)
    yield 'deep list', entry(b']' * MANY + b'a' * (MANY - 1))
    begun = name('a.b') + b')\x81}' + text('a')
    yield 'deep objects', entry(begun * MANY + NONE + b'sb' * MANY)
    yield 'list in itself', entry(b']' + put(1) + get(1) + b'a')
    keys = b''.join(number(i * (2**61 - 1)) + NONE for i in range(1, 30_000))
    yield 'keys of one hash', entry(b'}(' + keys + b'u')
    zero = b'G' + struct.pack('>d', 0.0)
    turned = (
        call(
            'builtins.complex',
            b'G' + struct.pack('>d', -1000003.0 * k),
            b'G' + struct.pack('>d', k),
        )
        for k in range(1, 30_000)
    )
    yield 'complex keys of one hash', entry(b'}(' + b''.join(k + NONE for k in turned) + b'u', zero)
    pairs = (
        b'(' + b''.join(number(-1 - (k >> bit & 1)) for bit in range(15)) + b't'
        for k in range(2**15)
    )
    yield 'tuples of one hash', entry(b'}(' + b''.join(key + NONE for key in pairs) + b'u')
    yield (
        'states in pairs',
        entry(
            b'(}(' + b''.join(number(k) + NONE for k in range(20_000)) + b'uNt' + put(1),
            (name('some.Class') + b')\x81' + get(1) + b'b') * 10_000,
        ),
    )
    side = number(2**2000) + put(2)
    yield 'shape of large sides', entry(
        side,
        name('numpy.core.numeric._frombuffer')
        + b'(' + raw(b'aaaa') + dtype('f4') + b'(' + get(2) * 100_000 + b't' + text('C') + b'tR',
    )  # fmt: skip
    yield 'shared modules', shared_modules(40)
    yield 'module in itself', (
        b'\x80\x02' + name('some.Module') + b')\x81' + put(1)
        + children(text('a') + get(1)) + b'b.'
    )  # fmt: skip
    yield 'long text many times', entry(text('a' * 2**20) + put(1), get(1) * 10**5)


def call_kinds() -> Iterator[tuple[str, bytes]]:
    yield 'os.system', entry(call('os.system', text('exit 1')))
    yield 'getattr', entry(call('builtins.getattr', name('torch.Size'), text('count')))
    yield 'setattr', entry(call('builtins.setattr', name('torch.Size'), text('count'), ONE))
    yield 'partial', entry(call('functools.partial', name('os.system'), text('exit 1')))
    yield 'call of a result', entry(call('builtins.getattr', ONE, text('real')) + b')R')
    yield 'call of a tensor', entry(tensor() + b')R')
    yield (
        'shadowed method',
        entry(call('collections.OrderedDict') + b'}' + text('items') + ONE + b'sb'),
    )
    yield (
        'class of options',
        entry(name('argparse.Namespace') + b')\x81}' + text('__class__') + ONE + b'sb'),
    )
    yield 'extension', entry(b'\x82\x01')
    yield 'INST', entry(b'(ios\ngetcwd\n')
    yield 'OBJ', entry(b'(' + name('os.getcwd') + b'o')
    yield 'digits', entry(b'I' + b'9' * 10**6 + b'\n')
    yield 'buffer', entry(b'\x97')
    yield 'reference of a number', entry(ONE + b'Q')
    yield 'no stack', b'\x80\x02R.'
    yield 'torch.load from bytes', entry(call('torch.storage._load_from_bytes', raw(b'\x80\x02N.')))
    yield 'device of a long name', entry(call('torch.device', text('x' * 1000)))
    yield 'call of a class of numbers', entry(call('torch.float32', ONE))


def files() -> Iterator[tuple[str, bytes]]:
    yield 'two pickles.pth', two_pickles()
    yield 'deflated beyond its size.pth', deflated_lie()
    yield 'compressed by LZMA.pth', lzma_bomb()
    yield 'members over each other.pth', overlapping()
    yield (
        'legacy: storage of 2**30.pth',
        legacy(b'\x80\x02' + tensor(2**30, more=[NONE]) + b'.', ['0']),
    )
    yield 'legacy: long bytes.pth', legacy(b'\x80\x02\x8e' + struct.pack('<Q', 2**40) + b'.')
    yield 'legacy: long number.pth', legacy(b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'.')
    yield (
        'legacy: other length.pth',
        legacy(
            b'\x80\x02' + tensor(more=[NONE]) + b'.', ['0'], struct.pack('<q', 2**40) + bytes(4)
        ),
    )
    yield (
        'legacy: unknown storage.pth',
        legacy(b'\x80\x02' + tensor(more=[NONE]) + b'.', ['1'], struct.pack('<q', 1) + bytes(4)),
    )
    yield 'legacy: payload first.pth', b'\x80\x02' + call('os.system', text('exit 1')) + b'.'
    yield 'tar of an old torch.pth', tarred()
    yield (
        'storage of other booleans.pth',
        archive(entry(tensor(4, size=(4,), kind='BoolStorage')), {'data/0': b'AAAA'}),
    )
    half = 2**15
    slid = tensor(2 * half, size=(half, half), stride=(1, 1))
    yield 'expanded by strides of 1.pth', archive(entry(slid), {'data/0': bytes(8 * half)})
    names = b''.join(text(f'{n}') + get(1) for n in range(MANY // 2))
    shared = tensor(2**18, size=(2**18,)) + put(1) + b'0'
    yield (
        'one tensor of many names.pth',
        archive(b'\x80\x02' + shared + b'}(' + names + b'u.', {'data/0': bytes(2**20)}),
    )
    views = b''.join(text(f'{n}') + tensor(2**18, size=(2**18,)) for n in range(2000))
    yield (
        'one storage of many tensors.pth',
        archive(b'\x80\x02}(' + views + b'u.', {'data/0': bytes(2**20)}),
    )
    yield 'other byte order.pth', archive(entry(tensor()), dict(byteorder=b'big'))
    one = dict(dtype='F32', shape=[2], data_offsets=[0, 8])
    yield 'overlap.safetensors', safetensors(dict(a=one, b=one), 8)
    yield 'hole.safetensors', safetensors(dict(a=dict(one, data_offsets=[8, 16])), 16)
    yield 'overflow.safetensors', safetensors(dict(a=dict(one, shape=[2**62, 2**62])), 8)
    yield 'more than the file.safetensors', safetensors(dict(a=one), 4)
    yield 'unknown type.safetensors', safetensors(dict(a=dict(one, dtype='Q7')), 8)
    yield 'long header.safetensors', struct.pack('<Q', 2**62) + b'{}'
    yield 'deep header.safetensors', safetensors(b'{"a":' * MANY, 8)
    yield (
        'booleans of 65.safetensors',
        safetensors(dict(a=dict(dtype='BOOL', shape=[8], data_offsets=[0, 8])), b'A' * 8),
    )


def two_pickles() -> bytes:
    return archive(entry(tensor()), {'b/data.pkl': entry()})


def deflated_lie() -> bytes:
    """A hundred kilobytes that would be a hundred megabytes, and say that they are less."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as written:
        with written.open('a/data.pkl', 'w', force_zip64=True) as member:
            for _ in range(100):
                member.write(bytes(2**20))
    content = file.getvalue()
    return content.replace(struct.pack('<I', 100 * 2**20), struct.pack('<I', 2**16))


def lzma_bomb() -> bytes:
    """Its dictionary is of 4 GB."""
    content = archive(entry(text('a' * 1000)), kind=zipfile.ZIP_LZMA)
    place = content.index(b'a/data.pkl') + len('a/data.pkl') + 4
    return content[: place + 1] + struct.pack('<I', 0xF0000000) + content[place + 5 :]


def overlapping() -> bytes:
    """Fifty members that are the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as written:
        written.writestr('a/data.pkl', entry())
        written.writestr('a/data/0', bytes(2**20))
        first = written.getinfo('a/data/0')
        for key in range(1, 50):
            info = zipfile.ZipInfo(f'a/data/{key}')
            info.header_offset, info.CRC = first.header_offset, first.CRC
            info.file_size = info.compress_size = first.file_size
            written.filelist.append(info)
            written.NameToInfo[info.filename] = info
        written._didModify = True
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as written:
        for title in ('storages', 'tensors', 'pickle'):
            info = tarfile.TarInfo(title)
            info.size = 4
            written.addfile(info, io.BytesIO(b'\x80\x02N.'))
    return file.getvalue()


def safetensors(header, data) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = data if isinstance(data, bytes) else bytes(data)
    return struct.pack('<Q', len(header)) + header + data


def hostile_checkpoints() -> dict[str, bytes]:
    """Return contents by file name."""
    found = dict(files())
    for kinds in (numpy_kinds, tensor_kinds, memory_kinds, endless_kinds, call_kinds):
        for title, content in kinds():
            found[f'{title}.pth'] = archive(content)
    return found
