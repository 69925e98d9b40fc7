"""A disk that fails, or a process that dies, at a chosen call."""

import os
from types import SimpleNamespace

from beit_mm.checkpoints.store import atomic_file as storage


class Killed(BaseException):
    pass


class Disk:
    """What :mod:`atomic_file` calls, each call through :meth:`call`."""

    def __init__(self, call):
        self.call = call
        names = {name: getattr(os, name) for name in dir(os)}
        for name in ('open', 'fsync', 'close', 'replace', 'unlink'):
            names[name] = self.wrapped(name, names[name])
        self.os = SimpleNamespace(**names)

    def wrapped(self, name, function):
        return lambda *args: self.call(name, function, *args)

    def open(self, path, mode):
        return File(self, self.call('open', open, path, mode))


class File:
    """A file whose writes and closing are calls of the disk."""

    def __init__(self, disk, file):
        self.disk, self.file, self.name = disk, file, file.name

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.disk.call('close', self.file.close)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        return self.disk.call('write', self.file.write, content)


class FaultyDisk:
    """A disk whose call number ``fails_at`` raises; after a kill, no call does anything."""

    def __init__(self, monkeypatch, fails_at: int, fault: BaseException):
        self.count, self.fails_at, self.fault = 0, fails_at, fault
        disk = Disk(self.call)
        monkeypatch.setattr(storage, 'os', disk.os)
        monkeypatch.setattr(storage, 'open', disk.open, raising=False)
        monkeypatch.setattr(storage, 'CHUNK', 16)
        unlink = storage.Path.unlink
        monkeypatch.setattr(
            storage.Path, 'unlink', lambda path, **kw: None if self.dead else unlink(path, **kw)
        )

    @property
    def dead(self) -> bool:
        return self.count > self.fails_at and isinstance(self.fault, Killed)

    def call(self, name, function, *args):
        if self.dead:
            if name == 'close':
                return function(*args)  # the kernel does
            raise Killed
        self.count += 1
        if self.count <= self.fails_at:
            return function(*args)
        if isinstance(self.fault, Killed):
            if name == 'close':
                function(*args)
            raise self.fault
        if name == 'write':
            function(args[0][:5])
        if name in ('write', 'fsync'):  # the rest needs no room
            raise self.fault
        return function(*args)
