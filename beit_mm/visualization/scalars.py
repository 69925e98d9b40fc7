import json
from pathlib import Path


def read_scalars(work_dir: str | Path, name: str = 'loss') -> tuple[list[int], list[float]]:
    """Return steps and values of ``name`` from all runs in an MMEngine work dir.

    Where several runs have the same step, the latest one counts.
    """
    values: dict[int, float] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a run that was killed
            if name in entry and 'step' in entry:
                values[int(entry['step'])] = float(entry[name])
    steps = sorted(values)
    return steps, [values[step] for step in steps]
