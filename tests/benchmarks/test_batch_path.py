from benchmarks import batch_path

TRUNK = """
import leaf

def step():
    leaf.turn()
    leaf.turn()
    return bend()

def bend():
    return 1
"""
LEAF = """
def turn():
    for _ in (step() for step in [here, here]):
        pass

def here():
    pass
"""


def test_trace__counts_calls_and_returns_between_files(tmp_path, monkeypatch):
    (tmp_path / 'trunk.py').write_text(TRUNK)
    (tmp_path / 'leaf.py').write_text(LEAF)
    monkeypatch.syspath_prepend(tmp_path)
    import leaf
    import trunk

    path = batch_path.trace(lambda: [trunk.step(), trunk.bend()], tmp_path)
    assert path.functions == {
        'trunk.py': ['step', 'bend'],
        'leaf.py': ['turn', '<genexpr>', 'here'],
    }
    assert path.lines == len((TRUNK + LEAF).splitlines())
    assert path.changes == 4  # to the leaf and back, twice
    assert str(path).endswith('2 files, 17 lines, 4 changes')
    assert batch_path.trace(lambda: [trunk.bend(), leaf.here()], tmp_path).changes == 1


def test_measure__a_pre_training_batch_goes_from_the_image_to_the_head():
    path = batch_path.measure()
    files = list(path.functions)
    assert files[0] == 'datasets/unlabelled_image_folder.py'
    order = [
        files.index(f'{file}.py')
        for file in (
            'datasets/transforms/blockwise_mask',
            'models/masked_image_model',
            'models/backbones/beit_encoder',
            'models/necks/masked_patch_neck',
            'models/heads/visual_token_head',
        )
    ]
    assert order == sorted(order)


def test_measure__a_fine_tuning_has_no_tokenizer():
    functions = batch_path.measure(finetune=True).functions
    assert {'models/backbones/beit_encoder.py', 'models/necks/patch_mean_neck.py'} <= set(functions)
    assert not any('tokenizers' in file or 'heads' in file for file in functions)
