"""Broken and unusual files, made by code: what data sets and downloads really contain.

Each entry says what has to become of it: in the loaders, in tools/check_dataset.py, and in a
training that leaves bad samples out.
"""

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image

LFS = (
    b'version https://git-lfs.github.com/spec/v1\n'
    b'oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n'
)
PAGE = b'<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n'


@dataclass(frozen=True)
class BrokenImage:
    """A file of a data set, and what becomes of it.

    Attributes:
        make: The content, or a function that makes what stands at a path.
        eight_bit: mmcv's LoadImageFromFile gives an image.
        bands: LoadMultiBandImage gives one.
        found: What tools/check_dataset.py calls it, for LoadImageFromFile; None for nothing.
        size: (H, W) of the image, where there is one, as LoadImageFromFile turns it.
    """

    name: str
    make: bytes | Callable[[Path], None]
    eight_bit: bool
    bands: bool
    found: str | None
    size: tuple[int, int] = (12, 16)

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        if isinstance(self.make, bytes):
            path.write_bytes(self.make)
        else:
            self.make(path)
        return path


def photo(channels: int = 3, dtype=np.uint8) -> np.ndarray:
    """(12, 16, C): smooth, so that lossy formats keep it."""
    y, x = np.mgrid[:12, :16]
    planes = [100 + 6 * y + 3 * x * (c + 1) % 200 for c in range(channels)]
    image = np.stack(planes, -1).astype(np.float64)
    return (image * (257 if dtype == np.uint16 else 1)).astype(dtype)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def encoded(suffix: str, array: np.ndarray) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack('>I', zlib.crc32(kind + content))
    return struct.pack('>I', len(content)) + kind + content + crc


def huge_png(side: int = 60000) -> bytes:
    """Declares ``side`` x ``side`` pixels and has next to none."""
    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    parts = chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(bytes(1000))), chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def huge_tiff(side: int = 60000) -> bytes:
    content = bytearray(tiff(photo(1)[..., 0], photometric='minisblack', compression='zlib'))
    for tag, small in ((256, 16), (257, 12)):  # width and height, as numbers of four bytes
        place = content.index(struct.pack('<HHII', tag, 4, 1, small))
        content[place : place + 12] = struct.pack('<HHII', tag, 4, 1, side)
    return bytes(content)


def huge_npy() -> bytes:
    small = npy(photo())
    return small.replace(b'(12, 16, 3)', b'(9999999, 9999999, 3)')


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path | str):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def image_corpus(marker: Path) -> list[BrokenImage]:
    """``marker`` is the folder that a payload makes where it is run."""
    rgb = Image.fromarray(photo())
    gray, floats = Image.fromarray(photo(1)[..., 0]), photo(4, np.float32)
    jpeg, png = saved(rgb, 'JPEG'), saved(rgb, 'PNG')
    four = tiff(floats, photometric='minisblack', planarconfig='contig')
    turned = Image.Exif()
    turned[0x0112] = 6
    nan = floats.copy()
    nan[3, 4, 1] = np.nan
    objects = np.empty((2, 2), object)
    objects[0, 0] = Payload(marker)
    more = dict(save_all=True, append_images=[rgb.transpose(Image.Transpose.ROTATE_180)])
    no = False, False
    E = BrokenImage  # noqa: N806  (a table of them)
    return [
        E('plain.jpg', jpeg, True, True, None),
        E('plain.png', png, True, True, None),
        E('jpeg-cut.jpg', jpeg[: len(jpeg) // 2], False, False, 'truncated'),
        E('jpeg-header.jpg', jpeg[:60], False, False, 'truncated'),
        E('png-cut.png', png[: len(png) // 2], False, False, 'truncated'),
        E('png-bits.png', _flip(png, len(png) // 2), False, False, 'undecodable'),
        E('tiff-cut.tif', four[:-300], False, False, 'undecodable'),
        E('npy-cut.npy', npy(photo())[:-7], False, False, None),
        E('jpeg-as-png.png', jpeg, True, True, 'wrong-extension'),
        E('png-as-tiff.tif', png, True, False, 'wrong-extension'),
        E('empty.jpg', b'', False, False, 'empty-file'),
        E('empty.npy', b'', False, False, None),
        E('text.jpg', b'not an image at all\n', False, False, 'undecodable'),
        E('web-page.jpg', PAGE, False, False, 'undecodable'),
        E('lfs-pointer.png', LFS, False, False, 'undecodable'),
        E('cmyk.jpg', saved(rgb.convert('CMYK'), 'JPEG'), True, True, 'cmyk'),
        E('exif-6.jpg', saved(rgb, 'JPEG', exif=turned), True, True, None, (16, 12)),
        E('sixteen.png', encoded('.png', photo(3, np.uint16)), True, True, 'sixteen-bit'),
        E('one-bit.png', saved(gray.convert('1'), 'PNG'), True, True, None),
        E('palette.png', saved(rgb.convert('P'), 'PNG'), True, True, None),
        E('alpha.png', saved(rgb.convert('RGBA'), 'PNG'), True, True, 'alpha'),
        E('gray-alpha.png', saved(gray.convert('LA'), 'PNG'), True, True, 'alpha'),
        E('one-pixel.png', saved(rgb.crop((0, 0, 1, 1)), 'PNG'), True, True, 'one-pixel', (1, 1)),
        E('one-row.png', saved(rgb.crop((0, 0, 9, 1)), 'PNG'), True, True, 'one-pixel', (1, 9)),
        E('bomb.png', huge_png(), False, False, 'decompression-bomb'),
        E('bomb.tif', huge_tiff(), False, False, 'decompression-bomb'),
        E('bomb.npy', huge_npy(), False, False, None),
        E('animated.gif', saved(rgb, 'GIF', **more), True, True, None),
        E('pages.tif', saved(rgb, 'TIFF', **more), True, True, None),
        E('four-bands.npy', npy(floats), False, True, None),
        E('pickle.npy', npy(objects, allow_pickle=True), False, False, None),
        E('archive.npy', _npz(), False, False, None),
        E(
            'nan.tif',
            tiff(nan, photometric='minisblack', planarconfig='contig'),
            *no,
            'undecodable',
        ),
        E('nan.npy', npy(nan), False, False, None),
        E('folder.jpg', lambda path: path.mkdir(), False, False, None),
        E('dangling.jpg', lambda path: path.symlink_to('nowhere.jpg'), False, False, None),
        E('unreadable.jpg', _unreadable, False, False, 'unreadable'),
    ]


def _flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=photo())
    return file.getvalue()


def _unreadable(path: Path) -> None:
    path.write_bytes(b'x')
    path.chmod(0)


# ---- checkpoints ----

WEIGHTS = dict(
    weight=torch.arange(12, dtype=torch.float32).reshape(3, 4) / 7,
    bias=torch.tensor([1.0, -2.0, 0.5]),
)


def checkpoint(weights: dict | None = None, legacy: bool = False, **more) -> bytes:
    file = io.BytesIO()
    content = dict(state_dict=weights or dict(WEIGHTS), meta=dict(iter=3), **more)
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def pickled_module() -> bytes:
    file = io.BytesIO()
    torch.save(torch.nn.Sequential(torch.nn.Linear(4, 3)), file)
    return file.getvalue()


def safetensors(weights: dict | None = None) -> bytes:
    from safetensors.torch import save

    return save(weights or WEIGHTS)


def huge_safetensors() -> bytes:
    """A header that says more than there is."""
    header = b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,399999999996]}}'
    return struct.pack('<Q', len(header)) + header + bytes(16)


def sound_checkpoints() -> dict[str, bytes]:
    return {
        'zip.pth': checkpoint(),
        'legacy.pth': checkpoint(legacy=True),
        'module.pkl': pickled_module(),
        'model.safetensors': safetensors(),
    }


@dataclass(frozen=True)
class BrokenCheckpoint:
    """``message`` is a part of what the error says, beside the name; None where it can be read."""

    name: str
    content: bytes
    message: str | None


def checkpoint_corpus(marker: Path) -> list[BrokenCheckpoint]:
    """``marker`` is the folder that a payload makes where it is run."""
    sound = sound_checkpoints()
    archive, legacy, tensors = sound['zip.pth'], sound['legacy.pth'], sound['model.safetensors']
    data = archive.index(WEIGHTS['weight'].numpy().tobytes())
    nan = dict(WEIGHTS, bias=torch.tensor([1.0, float('nan'), 0.0]))
    evil = checkpoint(extra=Payload(marker))
    code = pickle.dumps(Payload(marker))
    opcodes = f'cbuiltins\neval\n(V__import__("os").mkdir({str(marker)!r})\ntR.'.encode()
    system = f"cos\nsystem\n(S'mkdir {marker}'\ntR.".encode()
    E = BrokenCheckpoint  # noqa: N806
    return [
        *(E(name, content, None) for name, content in sound.items()),
        E('cut.pth', archive[: len(archive) // 2], 'damaged'),
        E('cut-at-the-end.pth', archive[:-10], 'damaged'),
        E('flipped-byte.pth', _flip(archive, data + 5), 'damaged'),
        E('legacy-cut.pth', legacy[: len(legacy) // 2], ''),
        E('payload.pth', evil, 'more than tensors'),
        E('payload-legacy.pth', checkpoint(legacy=True, extra=Payload(marker)), 'more than'),
        E('payload.pkl', code, 'more than tensors'),
        E('payload-eval.pth', opcodes, ''),
        E('payload-system.pth', system, ''),
        E('payload.safetensors', code, 'not a safetensors file'),
        E('nan.pth', checkpoint(nan), 'NaN or infinity'),
        E('nan.safetensors', safetensors(nan), 'NaN or infinity'),
        E('empty.pth', b'', 'damaged'),
        E('empty.safetensors', b'', 'not a safetensors file'),
        E('web-page.pth', PAGE, 'web page'),
        E('web-page.safetensors', PAGE, 'not a safetensors file'),
        E('lfs-pointer.pth', LFS, 'not a checkpoint'),
        E('bomb.pth', _zip_bomb(), 'would unpack to'),
        E('huge-header.safetensors', huge_safetensors(), 'not a safetensors file'),
        E('huge-length.safetensors', b'\xff' * 8 + tensors[8:], 'not a safetensors file'),
        E('picture.pth', saved(Image.fromarray(photo()), 'PNG'), 'not a checkpoint'),
    ]


def _zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', pickle.dumps({}))
        archive.writestr('archive/data/0', bytes(10**7))
    return file.getvalue()
