import cv2
import numpy as np
import torch

from beit_mm.cli import visualize_tokenizer
from beit_mm.registry import MODELS
from beit_mm.visualization import patches_of_code, to_rgb

SIZES = dict(vocab_size=16, stride=4, width=8, num_blocks=1, code_dim=4, logit_scale=3.0)


def test_pictures__of_a_checkpoint(tmp_path, monkeypatch):
    (tmp_path / 'images').mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        image = rng.integers(0, 256, (2, 4, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        cv2.imwrite(str(tmp_path / f'images/{number}.png'), image)
    tokenizer = MODELS.build(dict(type='DVAETokenizer', **SIZES)).train()
    with torch.no_grad():
        tokenizer.posterior(torch.rand(4, 3, 8, 16))
    torch.save(tokenizer.eval().state_dict(), tmp_path / 'tokenizer.pth')
    dataset = dict(
        type='UnlabelledImageFolder',
        data_root=str(tmp_path / 'images'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackMIMInputs')],
    )
    preprocessor = dict(type='TwoViewDataPreprocessor', mean=[0.0], std=[255.0], bgr_to_rgb=True)
    (tmp_path / 'config.py').write_text(
        f'model = dict(type="DVAETokenizer", **{SIZES})\n'
        f'data_preprocessor = {preprocessor}\nval_dataloader = dict(dataset={dataset})\n'
    )
    seen = {}
    atlas = lambda *args: seen.update(atlas=args) or ATLAS  # noqa: E731
    monkeypatch.setattr(visualize_tokenizer, 'code_atlas', atlas)
    board = {}

    class Board:  # TensorBoard need not be there
        def __init__(self, folder):
            assert folder == str(tmp_path / 'out')

        def add_image(self, name, picture):
            board[name] = picture

        def close(self):
            board['closed'] = True

    monkeypatch.setattr(visualize_tokenizer, 'TensorboardVisBackend', Board)
    paths = [str(tmp_path / name) for name in ('config.py', 'tokenizer.pth', 'out')]
    arguments = [*paths[:2], '--out', paths[2], '--codes', '2', '--tensorboard']
    visualize_tokenizer.main(arguments)
    images, ids, codes, _ = seen['atlas']
    pixels = np.stack([cv2.imread(str(tmp_path / f'images/{i}.png')) for i in range(3)])
    assert np.array_equal(images, pixels[..., ::-1])
    inputs = torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 255
    assert torch.equal(torch.from_numpy(ids), tokenizer.encode(inputs))
    counts = np.bincount(ids.flatten())
    assert counts[codes].tolist() == sorted(counts, reverse=True)[:2]
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert set(board) == {name.removesuffix('.png') for name in names} | {'closed'}
    traversal = cv2.imread(str(tmp_path / 'out/traversal.png'))[..., ::-1]
    assert np.array_equal(board['traversal'], traversal)
    assert names == {f'{n}.png' for n in ('atlas', 'histogram', 'reconstructions', 'traversal')}
    assert np.array_equal(cv2.imread(str(tmp_path / 'out/atlas.png'))[..., ::-1], ATLAS)
    with torch.no_grad():
        recon = to_rgb(tokenizer.decode(torch.from_numpy(ids)).numpy())
    picture = cv2.imread(str(tmp_path / 'out/reconstructions.png'))[..., ::-1]
    zoom = 64 // 16
    second = picture[2 + 8 * zoom + 2 :][: 8 * zoom : zoom, 2 : 2 + 16 * zoom : zoom]
    assert np.array_equal(second, recon[0])
    assert len(patches_of_code(images, ids, codes[0])) == counts[codes[0]]


ATLAS = np.random.default_rng(1).integers(0, 256, (5, 6, 3)).astype(np.uint8)
