"""A disk that fails, or a process that dies, at a chosen call."""

import os
from types import SimpleNamespace

from beit_mm.checkpoints.store import atomic_local_backend as storage

CALLS = ('open', 'write', 'fsync', 'close', 'replace')


class Killed(BaseException):
    pass


class FaultyDisk:
    """``os`` whose call number ``fails_at`` raises; after a kill, none of them does anything."""

    def __init__(self, monkeypatch, fails_at: int, fault: BaseException):
        self.count, self.fails_at, self.fault = 0, fails_at, fault
        fake = SimpleNamespace(**{name: getattr(os, name) for name in dir(os)})
        for name in (*CALLS, 'unlink'):
            setattr(fake, name, self.wrapped(name, getattr(os, name)))
        monkeypatch.setattr(storage, 'os', fake)
        monkeypatch.setattr(storage, 'CHUNK', 16)
        unlink = storage.Path.unlink
        monkeypatch.setattr(
            storage.Path, 'unlink', lambda path, **kw: None if self.dead else unlink(path, **kw)
        )

    @property
    def dead(self) -> bool:
        return self.count > self.fails_at and isinstance(self.fault, Killed)

    def wrapped(self, name, call):
        def wrapper(*args):
            if self.dead:
                if name == 'close':
                    return call(*args)  # the kernel does
                raise Killed
            self.count += 1
            if self.count <= self.fails_at:
                return call(*args)
            if isinstance(self.fault, Killed):
                raise self.fault
            if name == 'write':
                call(args[0], args[1][:5])
            if name in ('write', 'fsync'):  # the rest needs no room
                raise self.fault
            return call(*args)

        return wrapper
