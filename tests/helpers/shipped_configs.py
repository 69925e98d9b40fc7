"""The configs of the repository, and options that cut one down to a step of a second."""

from functools import cache
from pathlib import Path

from mmengine.config import Config

from beit_mm.cli.config_loading import load_config
from beit_mm.models import BEiTEncoder

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
LEAVES = sorted(p.relative_to(CONFIGS) for p in CONFIGS.glob('*/*.py') if p.parts[-2] != '_base_')
SMALL = dict(embed_dims=32, num_heads=2)  # and as many layers as are asked for


@cache
def loaded(leaf: Path) -> Config:
    """For reading: it is the same object for all."""
    return load_config(CONFIGS / leaf)


def cut_down(model) -> dict:
    """Options, as --cfg-options takes them, that make the model of a config small."""
    options = {}
    widths = set()

    def walk(node, path):
        if isinstance(node, list):
            for index, value in enumerate(node):
                walk(value, f'{path}.{index}')
        if not isinstance(node, dict):
            return
        if node.get('type') == 'Pretrained':
            options[path] = None
        if node.get('type') == 'SyncBN':
            options[f'{path}.type'] = 'BN'
        if str(node.get('type')).endswith('DALLETokenizer'):
            options.update({f'{path}.width': 4, f'{path}.num_blocks': 1, f'{path}.code_dim': 8})
        elif str(node.get('type')).endswith('DVAETokenizer'):
            options[f'{path}.width'] = 16
        if str(node.get('type')).endswith('PatchAggregationNeck'):
            options[f'{path}.early_layer'] = 1
        if node.get('arch') in BEiTEncoder.arch_settings and node['arch'] != 'micro':
            widths.add(BEiTEncoder.arch_settings[node['arch']]['embed_dims'])
            outputs = node.get('out_indices', -1)
            layers = 2
            if not isinstance(outputs, int):
                layers = max(layers, len(outputs))
                options[f'{path}.out_indices'] = list(range(layers - len(outputs), layers))
            elif outputs > 0:
                options[f'{path}.out_indices'] = 0
            options[f'{path}.arch'] = dict(_delete_=True, **SMALL, num_layers=layers)
        for key, value in node.items():
            if key == 'teacher' and value is not None:
                backbone = dict(
                    type='BEiTEncoder',
                    arch=dict(SMALL, num_layers=1),
                    out_type='featmap',
                    img_size=node.get('img_size', 224),
                    patch_size=node.get('patch_size', 16),
                )
                options[f'{path}.teacher'] = dict(
                    _delete_=True, type='BackboneFeatures', dims=32, backbone=backbone
                )
            else:
                walk(value, f'{path}.{key}')

    def narrow(node, path, key):
        if isinstance(node, dict):
            for name, value in node.items():
                if name not in ('teacher', 'arch'):
                    narrow(value, f'{path}.{name}', name)
        elif key in ('dims', 'channels', 'in_channels', 'embed_dim', 'embed_dims'):
            if isinstance(node, int) and node in widths:
                options[path] = SMALL['embed_dims']
            elif isinstance(node, list | tuple) and set(node) <= widths:
                options[path] = [SMALL['embed_dims']] * len(node)
        elif key == 'num_heads':
            options[path] = SMALL['num_heads']

    walk(model, 'model')
    if widths:
        narrow(model, 'model', 'model')
    return options


def options_of(config, work_dir) -> dict:
    """One step with two images, one batch of validation, no other processes, a small model."""
    options = {
        'work_dir': str(work_dir),
        'log_level': 'ERROR',
        'default_hooks.logger.interval': 1,
        'train_dataloader.batch_size': 2,
    }
    dataset = 'train_dataloader.dataset'
    if config.train_dataloader.dataset.type == 'CachedTokens':
        dataset += '.dataset'
    options |= {f'{dataset}.indices': 2, f'{dataset}.serialize_data': False}  # it collects garbage
    for name in ('train', 'val', 'test'):
        if config.get(f'{name}_dataloader'):
            options[f'{name}_dataloader.num_workers'] = 0
            options[f'{name}_dataloader.persistent_workers'] = False
        if name != 'train' and config.get(f'{name}_dataloader'):
            options[f'{name}_dataloader.batch_size'] = 1
            options[f'{name}_dataloader.dataset.indices'] = 1
            options[f'{name}_dataloader.dataset.serialize_data'] = False
    options |= ends_of(config)
    by_epoch = 'Epoch' in config.train_cfg.type
    options['train_cfg.max_epochs' if by_epoch else 'train_cfg.max_iters'] = 1
    if config.optim_wrapper.get('dtype') == 'float16':
        options['optim_wrapper.dtype'] = 'bfloat16'  # slow on CPUs, and its first steps overflow
    if config.default_scope == 'mmseg':
        options |= smaller(config, config.model.data_preprocessor.size[0])
    elif config.model.type == 'DALLETokenizer':
        options |= smaller(config, 256)
    return options | cut_down(config.model)


def ends_of(config) -> dict:
    """Return options that keep the learning rates of the whole training in a shorter one.

    A scheduler without ``end`` ends with the training, which has to be after its ``begin``.
    """
    length = config.train_cfg.get('max_epochs') or config.train_cfg.max_iters
    return {
        f'param_scheduler.{number}.end': length
        for number, scheduler in enumerate(config.get('param_scheduler') or [])
        if 'end' not in scheduler
    }


def smaller(config, crop: int) -> dict:
    """Crops of 64 to 127 pixels in the place of ``crop``, all other sizes in proportion."""
    divisor = 2 ** max((crop // 64).bit_length() - 1, 0)  # patches still divide the result
    keys = ('scale', 'size', 'crop_size', 'stride', 'img_size')
    options = {}

    def walk(node, path):
        if isinstance(node, list | dict):
            for key, value in node.items() if isinstance(node, dict) else enumerate(node):
                walk(value, f'{path}.{key}')
        elif path.split('.')[-1] in keys:
            if isinstance(node, int):
                options[path] = node // divisor
            elif isinstance(node, tuple) and all(isinstance(side, int) for side in node):
                options[path] = tuple(side // divisor for side in node)

    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for name in ('data_preprocessor', 'model', *loaders, 'test_pipeline', 'tta_pipeline'):
        walk(config.get(name), name)
    return options
