"""Load micro models with every client, and write how far their outputs are from ours.

    python benchmarks/clients.py
    python benchmarks/clients.py --print

The models are those of shipped configs with drawn weights, so nothing is trained or downloaded.
The table goes into docs/use_your_model.md, between its markers.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from beit_mm.apis import Model, export, load_model
from beit_mm.apis.export.proof import relative_difference
from beit_mm.checkpoints.description import describe
from beit_mm.contracts import UserError

ROOT = Path(__file__).resolve().parents[1]
PAGE, MARKERS = ROOT / 'docs/use_your_model.md', ('<!-- clients -->', '<!-- end of clients -->')
CONFIGS = {
    'tokenizer (dVAE)': 'tokenizer/dvae_light-v256_digit-scenes.py',
    'pre-training (BEiT)': 'pretrain/beit_beit-micro-p8_digit-scenes.py',
    'classifier': 'classification/beit-micro-p8_beit_ft_digit-scenes-500.py',
    'segmentor (SETR-PUP)': 'segmentation/beit-micro-p8_beit_setr-pup_digit-scenes-500.py',
    'segmentor (UPerNet)': 'segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py',
}
EXPORTED = dict(
    transformers='huggingface', timm='timm', **{'ONNX Runtime': 'onnx', 'beit_mm': 'beit_mm'}
)


def read_config(name: str) -> Config:
    """Return a shipped config without the weights that it starts from."""
    config = Config.fromfile(ROOT / 'configs' / CONFIGS[name])
    config.model = without_init(config.model)
    if 'UPerNet' in name:
        other = Config.fromfile(ROOT / 'configs/_base_/models/beit-base-p16_upernet.py').model
        norm = dict(type='BN', requires_grad=True)
        config.model.backbone.update(final_norm=False, out_indices=(0, 1, 2, 3))
        config.model.neck = dict(other.neck, embed_dim=128, norm_cfg=norm)
        sizes = dict(in_channels=[128] * 4, channels=128, num_classes=11, norm_cfg=norm)
        config.model.decode_head = dict(other.decode_head, **sizes)
    return config


def without_init(value):
    if isinstance(value, dict):
        return type(value)({k: without_init(v) for k, v in value.items() if k != 'init_cfg'})
    return value


def make_checkpoint(config: Config, path: Path) -> None:
    """Write what a training of ``config`` would, with drawn weights."""
    generator = torch.Generator().manual_seed(0)
    model_config = Config(dict(config.model, data_preprocessor=config.data_preprocessor))
    with MODELS.switch_scope_and_registry(config.default_scope) as registry:
        model = registry.build(model_config)
    with torch.no_grad():
        for tensor in [*model.parameters()]:
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in model.named_buffers():
            if name.endswith('running_var'):
                tensor += torch.rand(tensor.shape, generator=generator)
    loader = config.to_dict().get('test_dataloader') or {}
    meta = (loader.get('dataset') or {}).get('metainfo')
    state = model.state_dict()
    said = describe(model, config, state, dataset_meta=meta)
    torch.save(dict(state_dict=state, meta=dict(beit_mm=said, dataset_meta=meta)), path)


def run_openmmlab(library: str, config: Config, path: Path, model: Model) -> float | None:
    """Return the difference of what the library's own loading gives, None if it is not for it."""
    wanted = dict(mmpretrain='classification', mmseg='segmentation')[library]
    if model.task != wanted:
        return None
    if library == 'mmpretrain':
        from mmpretrain import get_model

        theirs = get_model(config.copy(), pretrained=str(path), device='cpu')
    else:
        from mmseg.apis import init_model

        theirs = init_model(config.copy(), str(path), device='cpu')
    names = theirs._dataset_meta if library == 'mmpretrain' else theirs.dataset_meta
    if list(names['classes']) != model.classes:
        raise UserError(f'{library} calls the classes {names["classes"]}')
    x = torch.randn(2, model.in_channels, *model.size)
    with torch.no_grad():
        return relative_difference(theirs(x, mode='tensor'), model.module(x, mode='tensor'))


def run_export(client: str, path: Path, folder: Path) -> tuple[float, str]:
    """Return the largest difference that the proof of an export finds, and what is exported."""
    size = (32, 32) if client == 'ONNX Runtime' else None  # which a tokenizer does not say
    found = export(path, folder / EXPORTED[client], to=EXPORTED[client], size=size)
    return found.largest, found.task


def fill_cell(run: Callable[..., float | tuple | None], *arguments) -> str:
    try:
        found = run(*arguments)
    except UserError as error:
        print(f'  {error}')
        return 'no'
    if found is None:
        return '-'
    value, task = found if isinstance(found, tuple) else (found, '')
    return f'yes, {value:.0e}' + ' (encoder)' * (task == 'backbone')


def make_rows(folder: Path) -> list[list[str]]:
    clients = [*EXPORTED, 'mmpretrain', 'mmseg']
    rows = [['Model', *clients], ['---'] * (len(clients) + 1)]
    for name in CONFIGS:
        print(name)
        config, place = read_config(name), folder / name.split(' ')[-1].strip('()')
        place.mkdir()
        path = place / 'checkpoint.pth'
        make_checkpoint(config, path)
        model, row = load_model(path), [name]
        for client in EXPORTED:
            row.append(fill_cell(run_export, client, path, place))
        for library in clients[len(EXPORTED) :]:
            row.append(fill_cell(run_openmmlab, library, config, path, model))
        rows.append(row)
    return rows


def write_page(rows: list[list[str]]) -> None:
    text = PAGE.read_text(encoding='utf-8')
    start, end = (text.index(marker) for marker in MARKERS)
    table = '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)
    text = f'{text[: start + len(MARKERS[0])]}\n{table}\n{text[end:]}'
    PAGE.write_text(text, encoding='utf-8')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--print', action='store_true', help='leave the page as it is')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    torch.manual_seed(0)
    np.random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = make_rows(Path(folder))
    for row in rows:
        print('| ' + ' | '.join(row) + ' |')
    if not args.print:
        write_page(rows)


if __name__ == '__main__':
    main()
