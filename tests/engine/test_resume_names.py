"""A resumed run knows its data by the names of the files, wherever they lie."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from small_runs import Points, small_run

from beit_mm.engine.loops import resumable_loop

NAMES = [f'site_{i // 8}/class_{i % 4}/{i % 8}.png' for i in range(16)]


@DATASETS.register_module(force=True)
class NamedPoints(Points):
    def __init__(self, root='data', names=None, **kwargs):
        self.root, self.names = root, names or NAMES
        super().__init__(size=len(self.names), **kwargs)

    def load_data_list(self):
        rows = super().load_data_list()
        return [
            dict(row, img_path=f'{self.root}/{n}') for row, n in zip(rows, self.names, strict=True)
        ]

    def prepare_data(self, index):
        return {k: v for k, v in self.get_data_info(index).items() if k != 'img_path'}


def resumed(tmp_path, kind, **data) -> str:
    """Return the log of a run of four steps that goes on after two of them."""
    unit = dict(Iter='max_iters', Epoch='max_epochs')[kind]
    loop = f'beit_mm.Resumable{kind}Loop'
    hook = dict(type='beit_mm.AtomicCheckpointHook', by_epoch=kind == 'Epoch', interval=1)
    for steps, given in ((2, {}), (4, data)):
        loader = dict(
            batch_size=8,
            num_workers=0,
            sampler=dict(type='beit_mm.ResumableSampler'),
            dataset=dict(type='NamedPoints', **given),
            collate_fn=dict(type='default_collate'),
        )
        small_run(
            tmp_path,
            train_dataloader=loader,
            train_cfg={'type': loop, unit: steps},
            default_hooks=dict(checkpoint=hook),
            resume=steps == 4,
        ).train()
    logs = sorted(Path(tmp_path).glob('*/*.log'), key=lambda path: path.stat().st_mtime)
    return ''.join(path.read_text() for path in logs)


@pytest.mark.parametrize('kind', ['Iter', 'Epoch'])
@pytest.mark.parametrize(
    'names',
    [
        NAMES[::-1],
        [*NAMES[1:], NAMES[0]],
        [*NAMES[:-1], 'class_3/new.png'],
        [name.replace('class_0', 'class_9') for name in NAMES],
        [*NAMES[8:], *NAMES[:8]],  # the same last two parts
    ],
)
def test_other_names_or_another_order__are_told(tmp_path, kind, names):
    assert 'other names than before, or another order' in resumed(tmp_path, kind, names=names)


@pytest.mark.parametrize('kind', ['Iter', 'Epoch'])
def test_the_same_data__in_another_place_are_not(tmp_path, kind):
    assert 'other names' not in resumed(tmp_path, kind, root='/mnt/elsewhere')


def test_one_name_of_many__is_told(tmp_path, monkeypatch):
    """Of a folder, though few samples are asked for their names."""
    monkeypatch.setattr(resumable_loop, 'NAMES', 3)
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(16):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / f'{number:02}.png')
    loaded = dict(type='beit_mm.UnlabelledImageFolder', data_root=str(folder), pipeline=[])
    names = [names_of(loaded, tmp_path) for _ in range(2)]
    (folder / '04.png').rename(folder / '04a.png')
    assert names[0] == names[1] != names_of(loaded, tmp_path)


def names_of(dataset, tmp_path) -> str:
    loader = dict(
        batch_size=8, sampler=dict(type='beit_mm.ResumableSampler'), dataset=dataset
    )  # fmt: skip
    loop = dict(type='beit_mm.ResumableIterLoop', max_iters=1)
    return small_run(tmp_path, train_dataloader=loader, train_cfg=loop).train_loop.dataset_names
