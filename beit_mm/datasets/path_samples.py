import os
from collections.abc import Sequence

import numpy as np


class PathSamples(Sequence):
    """The samples dict(img_path) of many files, whose paths are kept in one array of bytes.

    A million paths take 8 MiB and their characters after those that all begin with. Processes
    that are forked share them: no object of Python is made, or counted, before a sample is read.
    """

    def __init__(self, paths: Sequence[str]):
        self.start = os.path.commonprefix(paths) if paths else ''
        content = bytearray()

        def append(path: str) -> int:
            content.extend(os.fsencode(path[len(self.start) :]))
            return len(content)

        self.ends = np.fromiter(map(append, paths), np.int64, len(paths))
        self.content = np.frombuffer(content, np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int | slice) -> 'dict | PathSamples':
        if isinstance(index, slice):
            return PathSamples([self.path(i) for i in range(*index.indices(len(self)))])
        return dict(img_path=self.path(index))

    def path(self, index: int) -> str:
        index = range(len(self))[index]
        begin = self.ends[index - 1] if index else 0
        return self.start + os.fsdecode(self.content[begin : self.ends[index]].tobytes())
