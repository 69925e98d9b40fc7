"""Checkpoints from https addresses, kept in torch.hub's folder and checked by their SHA-256."""

import gzip
import hashlib
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag, urlparse
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log

from beit_mm.checkpoints.download_lock import alone
from beit_mm.checkpoints.download_watch import Watch
from beit_mm.checkpoints.store.atomic_file import open_atomically
from beit_mm.checkpoints.trust import is_trusted
from beit_mm.checkpoints.whole_file import why_not_whole
from beit_mm.contracts.errors import UserError, warn
from beit_mm.progress import Progress

CHUNK = 1 << 20
STALL = 60.0  # seconds in which at least SLOWEST bytes have to come
SLOWEST = 64 << 10
LIMIT, LIMIT_GB = 'BEIT_MM_MAX_DOWNLOAD_GB', 20.0  # BEiT-3 giant, in float32, has 8
ANSWERS = {
    401: 'the server wants a login',
    403: 'the server refuses it; it may want a login, or the link may have expired',
    404: 'there is no such file; look whether the address is right',
    410: 'the file was removed',
    429: 'the server wants fewer requests; try again later',
}


class DownloadError(UserError, OSError):
    """A file can't be had from its address, or not as a whole."""


def fetch(url: str) -> Path:
    """Return the local copy of ``https://host/file.pth`` or ``https://host/file.pth#sha256=HEX``.

    It is downloaded once, by the first of several processes. With a digest, the copy is checked
    each time.

    What comes is kept only if all of it has come: not what is cut off, empty, or a web page. The
    environment variable BEIT_MM_MAX_DOWNLOAD_GB allows more than 20 GB.

    Raises:
        UserError: Plain http, a malformed digest, or a file with another digest.
        DownloadError: The address can't be reached, or does not bring a whole file in time; the
            message says how to do without.
    """
    address, digest = split_digest(url)
    if urlparse(address).scheme != 'https' and not is_trusted():
        raise UserError(
            f'{address} is not an https address; over plain http anyone on the way can exchange '
            'the file. Use https, or download it yourself and give the local path'
        )
    try:
        if is_main_process():
            return _cached(address, digest)
    finally:
        barrier()
    return _cached(address, digest)


def split_digest(url: str) -> tuple[str, str | None]:
    """Split ``address#sha256=HEX`` into the address and HEX in lower case, None without one."""
    try:
        address, fragment = urldefrag(url)
        urlparse(address)
    except ValueError as error:
        raise UserError(f'{url} is no address: {error}') from error
    if not fragment:
        return address, None
    match = re.fullmatch(r'sha256=([0-9a-fA-F]{64})', fragment)
    if match is None:
        raise UserError(f'{url}: expected #sha256= and 64 hexadecimal digits after the address')
    return address, match[1].lower()


def cache_path(address: str) -> Path:
    """Return where the file of an address is kept; two addresses are never one file."""
    name = Path(urlparse(address).path).name or 'checkpoint'
    folder = hashlib.sha256(address.encode()).hexdigest()[:12]
    return Path(torch.hub.get_dir()) / 'checkpoints' / 'beit_mm' / folder / name


def _cached(address: str, digest: str | None) -> Path:
    path = cache_path(address)
    reason = why_not_whole(path, path.name) if path.is_file() and digest is None else None
    if reason is not None:  # kept by an earlier version, which did not look
        warn(f'{path}, the copy of {address}, is removed: {reason}')
        path.unlink(missing_ok=True)
    if not path.is_file():
        with alone(path.parent):
            if not path.is_file():
                _download(address, path, digest)
    elif digest is not None:
        _check(digest, file_digest(path), f'{path}, the copy of {address}')
    return path


def _download(address: str, path: Path, digest: str | None) -> None:
    """Download to ``path``, which is whole or not there, whatever happens."""
    print_log(f'Downloading {address} to {path}', logger='current')
    advice = f'download it elsewhere and give the local path, or put it at {path}'
    hasher, watch = hashlib.sha256(), Watch(2 * STALL, SLOWEST)
    try:
        with open_atomically(path) as file:
            with watch.running(), open_address(address, watch) as response:
                if response.status == 206:
                    raise EOFError('the server answers 206, with a part of the file')
                _refuse_size(_length_of(response), path)
                for chunk in _body(response, path.name, watch):
                    hasher.update(chunk)
                    file.write(chunk)
            file.flush()
            if digest is not None:
                _check(digest, hasher.hexdigest(), address)
            elif reason := why_not_whole(file.name, path.name):
                raise EOFError(f'what came is no whole checkpoint: {reason}')
    except UserError:
        raise
    except HTTPError as error:
        words = ANSWERS.get(error.code, 'the server has a fault' if error.code >= 500 else '')
        said = f'HTTP {error.code} {error.reason}' + (f': {words}' if words else '')
        raise DownloadError(f'{address} cannot be downloaded ({said}); {advice}') from error
    except (URLError, OSError, HTTPException, EOFError, ValueError, zlib.error) as error:
        cause = error.reason if isinstance(error, URLError) else error
        if watch.has_ended:
            cause = f'fewer than {SLOWEST >> 10} KB came in {watch.seconds:.0f} s'
        if isinstance(error, OSError) and error.filename is not None:  # of the disk
            advice = 'make room, or set TORCH_HOME to another folder'
        name = type(error).__name__ if not str(cause) else cause
        raise DownloadError(f'{address} cannot be downloaded ({name}); {advice}') from error
    if digest is None:
        warn(
            f'{address} was not checked; to have it checked next time, append '
            f'#sha256={hasher.hexdigest()}'
        )


def _length_of(response: HTTPResponse) -> int | None:
    """Return the bytes that the server says it sends, before decoding."""
    length = response.headers.get('Content-Length', '')
    return int(length) if re.fullmatch('[0-9]{1,18}', length) else None


def _body(response: HTTPResponse, name: str, watch: Watch) -> Iterator[bytes]:
    """Yield the decoded body.

    Raises:
        EOFError: It ends early.
        TimeoutError: It comes too slowly.
        DownloadError: It is too large, or encoded in a way that is not known.
    """
    encoding = response.headers.get('Content-Encoding', 'identity').strip().lower()
    if encoding not in ('identity', '', 'gzip', 'x-gzip'):
        raise EOFError(f'a proxy encodes it as {encoding!r}, although nobody asked for that')
    raw = _Raw(response, name, watch)
    is_packed = 'gzip' in encoding
    source = gzip.GzipFile(fileobj=raw, mode='rb') if is_packed else raw
    limit, count = _limit(), 0
    with raw.progress:
        while chunk := source.read1(CHUNK) if is_packed else source.read(CHUNK):
            count += len(chunk)
            if count > limit:
                raise DownloadError(_too_large(f'more than {count / 1e9:.1f} GB have come'))
            yield chunk
        while is_packed and raw.read(CHUNK):
            pass  # up to its end, which has to be the announced one


class _Raw:
    """What comes over the line: watched for its speed, and for an end before the announced one."""

    def __init__(self, response: HTTPResponse, name: str, watch: Watch):
        self.response, self.length, self.watch = response, _length_of(response), watch
        self.progress = Progress(f'downloading {name}', self.length, in_bytes=True)
        self.count = self.mark = 0
        self.since = time.monotonic()

    def read(self, size: int) -> bytes:
        if self.count == self.length:
            return b''
        chunk = self.response.read1(size)
        if not chunk and self.length is not None:
            raise EOFError(f'it ended after {self.count} of {self.length} bytes')
        self.count += len(chunk)
        self.watch.count = self.count
        if self.count > _limit():  # of what is packed, too: it may unpack to nothing
            raise DownloadError(_too_large(f'more than {self.count / 1e9:.1f} GB have come'))
        if chunk:
            self.progress.step(len(chunk))
        now = time.monotonic()
        if now - self.since > STALL:
            if self.count - self.mark < SLOWEST:
                raise TimeoutError(
                    f'{self.count - self.mark} bytes came in the last {now - self.since:.0f} s'
                )
            self.since, self.mark = now, self.count
        return chunk


def _limit() -> float:
    """Return how many bytes a download may have."""
    text = os.environ.get(LIMIT, str(LIMIT_GB))
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise UserError(f'{LIMIT}={text!r}: expected a number of gigabytes above 0')
    return limit * 1e9


def _too_large(found: str) -> str:
    return (
        f'{found}, and a download may have {_limit() / 1e9:g} GB; if that is right, set the '
        f'environment variable {LIMIT} to more'
    )


def _refuse_size(length: int | None, path: Path) -> None:
    """Raise a DownloadError if a body of this many bytes is too large, or has no room."""
    if length is None:
        return
    if length > _limit():
        raise DownloadError(_too_large(f'{path.name} has {length / 1e9:.1f} GB'))
    free = shutil.disk_usage(path.parent).free
    if length > free:
        raise DownloadError(
            f'{path.name} has {length / 1e9:.1f} GB, but {path.parent} has room for '
            f'{free / 1e9:.1f} GB; make room, or set TORCH_HOME to another folder'
        )


def open_address(address: str, watch: Watch):
    """Open a stream of the body; redirections lead to https addresses only."""
    headers = {'User-Agent': 'beit_mm', 'Accept-Encoding': 'identity'}
    opener = build_opener(HTTPSRedirects, *watch.handlers())
    return opener.open(Request(address, headers=headers), timeout=STALL)


class HTTPSRedirects(HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlparse(newurl).scheme != 'https' and not is_trusted():
            raise URLError(f'it redirects to {newurl}, which is not an https address')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def file_digest(path: str | Path) -> str:
    hasher = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def _check(expected: str, found: str, source: str) -> None:
    if found != expected:
        raise UserError(
            f'{source} has the SHA-256 {found}, expected {expected}: it is damaged or another '
            'file. Delete the copy to download it again, or correct the digest in the config'
        )
