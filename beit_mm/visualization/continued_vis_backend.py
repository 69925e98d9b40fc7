import json
import logging
import os
from pathlib import Path

from mmengine.logging import MessageHub, print_log
from mmengine.visualization import LocalVisBackend
from mmengine.visualization.vis_backend import force_init_env

from beit_mm.registry import VISBACKENDS


@VISBACKENDS.register_module()
class ContinuedVisBackend(LocalVisBackend):
    """LocalVisBackend that also keeps the curves of all runs of a work dir as one.

    ``scalars.jsonl`` in the work dir has one line per logged step: ``kind`` (train or val),
    ``iter``, and the scalars. What a killed run logged after its last checkpoint goes when the
    resumed run comes to the same iteration, so each step is there once, in order. A run from the
    start begins a new curve. Where the disk is full the training goes on, and the curve with it as
    soon as there is room.
    """

    file_name = 'scalars.jsonl'
    _continued = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._pending: list[str] = []  # lines that are not on the disk

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path=None, **kwargs) -> None:
        try:
            super().add_scalars(scalar_dict, step, file_path, **kwargs)
        except OSError as error:  # the curve below has the same
            print_log(f'{self._save_dir}: {error}', logger='current', level=logging.ERROR)
        self._continue(scalar_dict)

    @force_init_env
    def _continue(self, scalar_dict: dict) -> None:
        # only the training step's scalars know their iteration
        kind = 'train' if 'iter' in scalar_dict else 'val'
        done = MessageHub.get_current_instance().get_info('iter', -1) + 1
        iteration = int(scalar_dict.get('iter', done))
        path = Path(self._save_dir).parents[1] / self.file_name
        scalars = {name: _plain(value) for name, value in scalar_dict.items()}
        line = {**scalars, 'kind': kind, 'iter': iteration}
        self._pending.append(json.dumps(line) + '\n')
        try:
            if not self._continued:
                first = json.loads(self._pending[0])
                self._drop_after(path, first['iter'], first['kind'])
                self._continued = True
            _append(path, ''.join(self._pending).encode())
            self._pending = []
        except OSError as error:
            print_log(
                f'{path}: {error}; {len(self._pending)} lines wait for room on the disk',
                logger='current',
                level=logging.ERROR,
            )

    @staticmethod
    def _drop_after(path: Path, iteration: int, kind: str) -> None:
        """Lines that are about to come again, and one that was cut off."""
        if not path.is_file():
            return
        content = path.read_bytes()
        lines = [line for line in content.splitlines() if _is_before(line, iteration, kind)]
        kept = b''.join(line + b'\n' for line in lines)  # the last one may lack its end
        if kept != content:
            temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
            temporary.write_bytes(kept)
            os.replace(temporary, path)


def _append(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    with path.open('ab', buffering=0) as file:
        size = file.tell()
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            file.truncate(size)
            raise


def _is_before(line: bytes, iteration: int, kind: str) -> bool:
    try:
        entry = json.loads(line)
        if entry['iter'] == iteration:  # the step comes before its validation
            return (entry['kind'], kind) == ('train', 'val')
        return entry['iter'] < iteration
    except (ValueError, KeyError, TypeError):
        return False


def _plain(value):
    return value.tolist() if hasattr(value, 'tolist') else value
