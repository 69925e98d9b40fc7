"""Checkpoints from https addresses, kept in torch.hub's folder and checked by their SHA-256."""

import hashlib
import logging
import os
import re
import tempfile
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urldefrag, urlparse
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log

from beit_mm.checkpoints.trust import is_trusted
from beit_mm.contracts.errors import UserError

CHUNK = 1 << 20


def fetch(url: str) -> Path:
    """Return the local copy of ``https://host/file.pth`` or ``https://host/file.pth#sha256=HEX``.

    It is downloaded once, by the first of several processes. With a digest, the copy is checked
    each time.

    Raises:
        UserError: Plain http, a malformed digest, or a file with another digest.
        OSError: The address can't be reached; the message says how to do without.
    """
    address, digest = split_digest(url)
    if urlparse(address).scheme != 'https' and not is_trusted():
        raise UserError(
            f'{address} is not an https address; over plain http anyone on the way can exchange '
            'the file. Use https, or download it yourself and give the local path'
        )
    rank, world_size = get_dist_info()
    try:
        if rank == 0:
            return _cached(address, digest)
    finally:
        if world_size > 1:
            barrier()
    return _cached(address, digest)


def split_digest(url: str) -> tuple[str, str | None]:
    """Split ``address#sha256=HEX`` into the address and HEX in lower case, None without one."""
    address, fragment = urldefrag(url)
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
    if not path.is_file():
        _download(address, path, digest)
    elif digest is not None:
        _check(digest, file_digest(path), f'{path}, the copy of {address}')
    return path


def _download(address: str, path: Path, digest: str | None) -> None:
    print_log(f'Downloading {address} to {path}', logger='current')
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix='.')
    try:
        hasher = hashlib.sha256()
        with open_address(address) as response, os.fdopen(handle, 'wb') as file:
            while chunk := response.read(CHUNK):
                hasher.update(chunk)
                file.write(chunk)
        if digest is None:
            print_log(
                f'{address} was not checked; to have it checked next time, append '
                f'#sha256={hasher.hexdigest()}',
                logger='current',
                level=logging.WARNING,
            )
        else:
            _check(digest, hasher.hexdigest(), address)
        os.replace(temporary, path)
    except URLError as error:
        raise OSError(
            f'{address} cannot be downloaded ({error.reason}); download it elsewhere and give the '
            f'local path, or put it at {path}'
        ) from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def open_address(address: str):
    """Open a stream of the body; redirections lead to https addresses only."""
    request = Request(address, headers={'User-Agent': 'beit_mm'})
    return build_opener(HTTPSRedirects).open(request, timeout=60)


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
