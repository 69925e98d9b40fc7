"""Downloads from a server on loopback that does what networks, proxies and disks do."""

import errno
import gzip
import io
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save

from beit_mm.checkpoints import download, fetch, trust_checkpoints
from beit_mm.checkpoints.download import DownloadError, cache_path, file_digest
from beit_mm.contracts import UserError


def saved() -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(x=torch.arange(4000)), buffer)
    return buffer.getvalue()


FILE = saved()
LEGACY = b'\x80\x02' + bytes(range(256)) * 40
TENSORS = save(dict(x=torch.arange(100.0)))
BOMB = gzip.compress(bytes(30_000_000), 1)
PAGE = b'\n<!DOCTYPE html><html>Please log in</html>'


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def send(self, body=b'', status=200, length=None, **headers):
        self.send_response(status)
        length = len(body) if length is None else length
        if length >= 0:
            self.send_header('Content-Length', str(length))
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        self.server.asked.append(self.path)
        try:
            getattr(self, self.path[1:].split('.')[0])()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def whole(self):
        self.send(TENSORS if self.path.endswith('safetensors') else FILE)

    def legacy(self):
        self.send(LEGACY)

    def without_length(self):
        self.send(FILE, length=-1)

    def cut(self):
        self.send(FILE[:-100], length=len(FILE))

    def cut_legacy(self):
        self.send(LEGACY[:-1], length=len(LEGACY))

    def cut_without_length(self):
        body = TENSORS if self.path.endswith('safetensors') else FILE
        self.send(body[:-100], length=-1)

    def empty(self):
        self.send()

    def nothing(self):
        self.send(length=-1)

    def page(self):
        self.send(PAGE, Content_Type='text/html')

    def text(self):
        self.send('version https://git-lfs … é'.encode() * 30)

    def gzipped(self):
        self.send(gzip.compress(FILE), Content_Encoding='gzip')

    def gzipped_cut(self):
        packed = gzip.compress(LEGACY)
        self.send(packed[:-20], length=-1, Content_Encoding='gzip')

    def gzipped_damaged(self):
        self.send(b'no gzip at all', Content_Encoding='gzip')

    def gzipped_bomb(self):
        self.send(BOMB, Content_Encoding='gzip')

    def brotli(self):
        self.send(FILE, Content_Encoding='br')

    def chunked(self, parts=(FILE[:500], FILE[500:]), end=b'0\r\n\r\n'):
        self.send(length=-1, Transfer_Encoding='chunked')
        for part in parts:
            self.wfile.write(f'{len(part):x}\r\n'.encode() + part + b'\r\n')
        self.wfile.write(end)

    def chunked_cut(self):
        self.chunked([FILE[:500]], end=b'')

    def chunked_cut_within(self):
        self.chunked([FILE[:500]], end=b'500\r\nabc')

    def drip(self):
        self.send(length=len(FILE))
        for byte in FILE[:100]:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def drip_header(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nX: ')
        self.drip_on(b'x')

    def drip_chunk(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;')
        self.drip_on(b'x')

    def trailer(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nPK\r\n0\r\n')
        self.drip_on(b'X: y\r\n')

    def answers_in_advance(self):
        self.drip_on(b'HTTP/1.1 100 Continue\r\n\r\n')

    def drip_on(self, piece):
        for _ in range(200):
            self.wfile.write(piece)
            time.sleep(0.05)

    def silence(self):
        self.send(FILE[:50], length=len(FILE))
        time.sleep(3)

    def endless(self):
        self.send(length=-1)
        while True:
            self.wfile.write(bytes(1 << 20))

    def gzip_of_nothing(self):
        self.send(length=-1, Content_Encoding='gzip')
        while True:
            self.wfile.write(gzip.compress(b'') * 5000)

    def gzip_name(self):
        self.send(b'\x1f\x8b\x08\x08\0\0\0\0\0\xff', length=-1, Content_Encoding='gzip')
        while True:
            self.wfile.write(b'a' * 100_000)

    def gzip_zeros(self):
        self.send(gzip.compress(FILE), length=-1, Content_Encoding='gzip')
        while True:
            self.wfile.write(bytes(100_000))

    def part(self):
        self.send(LEGACY[:2], status=206)

    def odd_length(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nPK')
        self.close_connection = True

    def long_length(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: ' + b'9' * 5000 + b'\r\n\r\nPK')
        self.close_connection = True

    def bad_place(self):
        self.send(status=302, Location='https://[::1/x')

    def bad_host(self):
        self.send(status=302, Location='https://a..b/x')

    def huge(self):
        self.send(FILE, length=10**15)

    def loop(self):
        self.send(status=302, Location=self.path)

    def nowhere(self):
        self.send(status=302, Location='/whole.pth')

    def forbidden(self):
        self.send(status=403)

    def missing(self):
        self.send(status=404)

    def broken(self):
        self.send(status=500)

    def nonsense(self):
        self.wfile.write(b'SSH-2.0-OpenSSH\r\n\r\n')
        self.close_connection = True

    def hang_up(self):
        self.close_connection = True


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of what Handler has, whose files a new folder keeps."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(download, 'STALL', 0.4)
    httpd = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.asked = []
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    here = f'http://127.0.0.1:{httpd.server_port}/'
    with trust_checkpoints():  # plain http
        yield SimpleNamespace(here=here, asked=httpd.asked)
    httpd.shutdown()
    httpd.server_close()


def kept(address):
    folder = cache_path(address).parent
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize(
    'name, content',
    [
        ('whole.pth', FILE),
        ('whole.safetensors', TENSORS),
        ('legacy.pkl', LEGACY),
        ('without_length.pth', FILE),
        ('gzipped.pth', FILE),
        ('chunked.pth', FILE),
        ('nowhere.pth', FILE),
    ],
)
def test_whole_file__is_kept_and_asked_for_once(name, content, server):
    for _ in range(2):
        assert fetch(server.here + name).read_bytes() == content
    assert server.asked.count(f'/{name}') == 1 and kept(server.here + name) == [name]


FAULTS = {
    'cut.pth': 'ended after',
    'cut_legacy.pkl': 'ended after 10241 of 10242 bytes',
    'cut_without_length.pth': 'cut off',
    'cut_without_length.safetensors': 'of its',
    'empty.pth': 'is empty',
    'nothing.pth': 'is empty',
    'page.pth': 'a web page',
    'page.safetensors': 'begins with',
    'text.pth': 'git-lfs',
    'gzipped_cut.pth': 'ended before',
    'gzipped_damaged.pth': 'gzip',
    'brotli.pth': "'br'",
    'chunked_cut.pth': 'IncompleteRead',
    'chunked_cut_within.pth': 'IncompleteRead',
    'drip.pth': 'came in the last',
    'drip_header.pth': 'fewer than 64 KB came in 1 s',
    'drip_chunk.pth': 'fewer than 64 KB came in 1 s',
    'trailer.pth': 'fewer than 64 KB came in 1 s',
    'answers_in_advance.pth': 'fewer than 64 KB came in 1 s',
    'silence.pth': 'timed out',
    'huge.pth': '1000000.0 GB.*BEIT_MM_MAX_DOWNLOAD_GB',
    'loop.pth': 'HTTP 302.*infinite loop',
    'forbidden.pth': 'HTTP 403.*refuses',
    'missing.pth': 'HTTP 404.*address',
    'broken.pth': 'HTTP 500.*fault',
    'nonsense.pth': 'BadStatusLine|SSH',
    'hang_up.pth': 'closed connection',
    'part.pkl': 'answers 206',
    'odd_length.pth': 'cannot be downloaded',
    'long_length.pth': 'cannot be downloaded',
    'bad_place.pth': 'IPv6|port',
    'bad_host.pth': 'cannot be downloaded',
}


@pytest.mark.parametrize('name', FAULTS)
def test_anything_else__is_said_and_not_kept(name, server, caplog):
    with pytest.raises(DownloadError, match=FAULTS[name]):
        fetch(server.here + name)
    assert kept(server.here + name) == []
    assert 'sha256' not in caplog.text


PACKED = ['gzipped_bomb.pth', 'gzip_of_nothing.pth', 'gzip_name.pth', 'gzip_zeros.pth']


@pytest.mark.parametrize('name', ['endless.pth', *PACKED])
def test_too_large__stops_at_the_limit_that_can_be_raised(name, server, monkeypatch):
    monkeypatch.setattr(download, 'STALL', 30)
    monkeypatch.setenv('BEIT_MM_MAX_DOWNLOAD_GB', '0.0005')
    with pytest.raises(DownloadError, match='may have 0.0005 GB.*BEIT_MM_MAX_DOWNLOAD_GB to more'):
        fetch(server.here + name)
    assert kept(server.here + name) == []
    for wrong in ('much', '0', 'nan'):
        monkeypatch.setenv('BEIT_MM_MAX_DOWNLOAD_GB', wrong)
        with pytest.raises(UserError, match=f"='{wrong}': expected a number"):
            fetch(server.here + 'whole.pth')


@pytest.mark.parametrize('rest', ['[bad/x.pth', 'a..b/x.pth', 'h/mod\xe8le.pth'])
def test_no_address__is_said(rest, server):
    with pytest.raises(UserError, match='no address|cannot be downloaded'):
        fetch(f'https://{rest}')


def test_no_server__is_said(server):
    with pytest.raises(DownloadError, match='give the local path'):
        fetch('http://127.0.0.1:9/a.pth')


@pytest.mark.parametrize('content', [b'', FILE[:-30], PAGE])
def test_copy_that_an_earlier_version_kept__is_downloaded_again(content, server):
    path = cache_path(server.here + 'whole.pth')
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert fetch(server.here + 'whole.pth').read_bytes() == FILE


def test_interrupt__leaves_nothing(server, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(download.Progress, 'step', interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.here + 'whole.pth')
    assert kept(server.here + 'whole.pth') == []


def test_full_disk__is_said_before_and_meanwhile(server, monkeypatch):
    url = server.here + 'whole.pth'
    with monkeypatch.context() as patch:
        patch.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=100))
        with pytest.raises(DownloadError, match='room for 0.0 GB.*TORCH_HOME'):
            fetch(url)

    def no_room(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'a.pth')

    monkeypatch.setattr(os, 'fsync', no_room)
    with pytest.raises(DownloadError, match='No space left.*TORCH_HOME'):
        fetch(url)
    assert kept(url) == []


def test_two_at_once__both_get_the_whole_file(server):
    url = server.here + 'chunked.pth'
    found = []

    def get():
        with trust_checkpoints():
            found.append(fetch(url).read_bytes())

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [FILE] * 4 and kept(url) == ['chunked.pth']
    assert server.asked == ['/chunked.pth']


def test_killed_download__leaves_its_rest_until_the_next(server):
    """Of any address, but not what another process is downloading."""
    names = 'whole.pth', 'legacy.pkl', 'empty.pth'
    paths = [cache_path(server.here + name) for name in names]
    for path in paths:
        path.parent.mkdir(parents=True)
        (path.parent / f'.{path.name}.0a1b2c3d.tmp').write_bytes(FILE[:100])
    with FileLock(paths[1].parent.with_suffix('.lock')):
        assert fetch(server.here + 'whole.pth').read_bytes() == FILE
    found = {name: kept(server.here + name) for name in names}
    assert found == {
        'whole.pth': ['whole.pth'],
        'legacy.pkl': ['.legacy.pkl.0a1b2c3d.tmp'],
        'empty.pth': [],
    }


def test_killed_download__of_the_same_file(server):
    """Its folder is locked twice, one after the other."""
    path = cache_path(server.here + 'whole.pth')
    path.parent.mkdir(parents=True)
    (path.parent / '.whole.pth.0a1b2c3d.tmp').write_bytes(FILE[:100])
    assert fetch(server.here + 'whole.pth').read_bytes() == FILE
    assert kept(server.here + 'whole.pth') == ['whole.pth']


def test_no_locks__download_all_the_same(server, monkeypatch):
    def refuse(*args, **kwargs):
        raise NotImplementedError

    monkeypatch.setattr(FileLock, 'acquire', refuse)
    assert fetch(server.here + 'whole.pth').read_bytes() == FILE


def test_progress__is_shown(server, capsys):
    fetch(server.here + 'whole.pth')
    size = len(FILE) / 1e6
    assert f'downloading whole.pth: {size:.1f} of {size:.1f} MB, ' in capsys.readouterr().err


def test_digest__of_the_decoded_file(server):
    digest = file_digest(fetch(server.here + 'whole.pth'))
    assert fetch(f'{server.here}gzipped.pth#sha256={digest}').read_bytes() == FILE
