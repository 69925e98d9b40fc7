import json

import pytest
from mmengine.logging import MessageHub

from beit_mm.visualization import ContinuedVisBackend

resource = pytest.importorskip('resource')


def test_full_disk__the_curve_goes_on_where_it_was(tmp_path):
    """Writes fail somewhere in a line, as where a disk is full, and succeed again later."""
    backend = ContinuedVisBackend(save_dir=str(tmp_path / 'run/vis_data'))
    hub = MessageHub.get_current_instance()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for step in range(1, 13):
            limit = 150 if 2 < step < 10 else before[0]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            hub.update_info('iter', step - 1)
            backend.add_scalars(dict(iter=step, loss=1 / 3), step)
            content = (tmp_path / 'scalars.jsonl').read_text()
            assert content.endswith('\n')  # no line is cut
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [json.loads(line)['iter'] for line in content.splitlines()] == list(range(1, 13))
