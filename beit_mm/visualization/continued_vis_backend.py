import json
import os
from pathlib import Path

from mmengine.logging import MessageHub
from mmengine.visualization import LocalVisBackend
from mmengine.visualization.vis_backend import force_init_env

from beit_mm.registry import VISBACKENDS


@VISBACKENDS.register_module()
class ContinuedVisBackend(LocalVisBackend):
    """LocalVisBackend that also keeps the curves of all runs of a work dir as one.

    ``scalars.jsonl`` in the work dir has one line per logged step: ``kind`` (train or val),
    ``iter``, and the scalars. What a killed run logged after its last checkpoint goes when the
    resumed run comes to the same iteration, so each step is there once, in order. A run from the
    start begins a new curve.
    """

    file_name = 'scalars.jsonl'
    _continued = False

    @force_init_env
    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path=None, **kwargs) -> None:
        super().add_scalars(scalar_dict, step, file_path, **kwargs)
        # only the training step's scalars know their iteration
        kind = 'train' if 'iter' in scalar_dict else 'val'
        done = MessageHub.get_current_instance().get_info('iter', -1) + 1
        iteration = int(scalar_dict.get('iter', done))
        path = Path(self._save_dir).parents[1] / self.file_name
        if not self._continued:
            self._drop_after(path, iteration, kind)
            self._continued = True
        scalars = {name: _plain(value) for name, value in scalar_dict.items()}
        line = {**scalars, 'kind': kind, 'iter': iteration}
        with path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')

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
