import json
import logging
from pathlib import Path

from mmengine.logging import MessageHub, print_log
from mmengine.visualization import LocalVisBackend
from mmengine.visualization.vis_backend import force_init_env

from beit_mm.checkpoints.store import append, write_atomically
from beit_mm.registry import VISBACKENDS


@VISBACKENDS.register_module()
class ContinuedVisBackend(LocalVisBackend):
    """LocalVisBackend that also keeps the curves of all runs of a work dir in one file.

    Each line of ``scalars.jsonl`` in the work dir is one logged step: ``kind`` (train or val),
    ``iter`` and the scalars. A resumed run first removes the lines that it will log again, so that
    each step is there once, in order; a run from the start begins a new file. If the disk is full,
    training goes on, and lines that could not be written are kept until there is room.
    """

    file_name = 'scalars.jsonl'

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._continued = False  # the earlier runs' lines have been cut
        self._pending: list[str] = []  # lines that are not on the disk

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path=None, **kwargs) -> None:
        try:
            super().add_scalars(scalar_dict, step, file_path, **kwargs)
        except OSError as error:  # the lines below have the same scalars
            print_log(f'{self._save_dir}: {error}', logger='current', level=logging.ERROR)
        self._continue(scalar_dict)

    @force_init_env
    def _continue(self, scalar_dict: dict) -> None:
        # only the training step's scalars know their iteration
        kind = 'train' if 'iter' in scalar_dict else 'val'
        done = MessageHub.get_current_instance().get_info('iter', -1) + 1
        line = {**scalar_dict, 'kind': kind, 'iter': int(scalar_dict.get('iter', done))}
        self._pending.append(json.dumps(line, default=lambda value: value.tolist()) + '\n')
        path = Path(self._save_dir).parents[1] / self.file_name
        try:
            if not self._continued:
                first = json.loads(self._pending[0])
                _drop_from(path, first['iter'], first['kind'])
                self._continued = True
            append(path, ''.join(self._pending).encode())
            self._pending = []
        except OSError as error:
            print_log(
                f'{path}: {error}; {len(self._pending)} lines wait for room on the disk',
                logger='current',
                level=logging.ERROR,
            )


def _drop_from(path: Path, iteration: int, kind: str) -> None:
    """Remove the lines from a step on, which will be logged again, and a last one that is cut."""
    if not path.is_file():
        return
    content = path.read_bytes()
    lines = [line for line in content.splitlines() if _is_before(line, iteration, kind)]
    kept = b''.join(line + b'\n' for line in lines)  # the last one may lack its end
    if kept != content:
        write_atomically(path, kept)


def _is_before(line: bytes, iteration: int, kind: str) -> bool:
    try:
        entry = json.loads(line)
        if entry['iter'] == iteration:  # the step comes before its validation
            return (entry['kind'], kind) == ('train', 'val')
        return entry['iter'] < iteration
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
