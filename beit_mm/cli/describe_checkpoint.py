"""Print what a checkpoint says of itself (tools/analysis_tools/describe_checkpoint.py)."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from beit_mm.checkpoints import detect, peek, read_description, unwrap
from beit_mm.checkpoints.description.stored import meta_of
from beit_mm.contracts import UserError, printable
from beit_mm.contracts.digest import plain


def read_facts(path: str) -> dict[str, Any]:
    """Return ``file``, ``layout``, ``tensors``, ``parameters``, ``parts``, ``description``, ..."""
    checkpoint = peek(path)
    weights, around = unwrap(checkpoint)
    parts = Counter()
    for name, tensor in weights.items():
        parts[name.split('.')[0] if '.' in name else '(itself)'] += tensor.numel()
    meta = meta_of(checkpoint)
    names = ('epoch', 'iter', 'seed', 'time', 'experiment_name')
    config = meta.get('cfg', meta.get('config'))
    return dict(
        file=str(path),
        layout=detect(weights),
        inside=list(around),
        tensors=len(weights),
        parameters=sum(parts.values()),
        parts=dict(parts),
        run={name: plain(meta[name]) for name in names if meta.get(name) is not None},
        description=plain(read_description(path)),
        config=config if isinstance(config, str) else None,
    )


def format_table(facts: dict[str, Any]) -> str:
    """Return the facts as lines of a name and a value."""
    shares = ', '.join(f'{name} {count:,}' for name, count in facts['parts'].items())
    rows = {
        'file': facts['file'],
        'layout': facts['layout'] or 'none of a BEiT',
        'tensors': f'{facts["tensors"]}, {facts["parameters"]:,} numbers',
        'parts': shares,
        **{f'run.{name}': value for name, value in facts['run'].items()},
    }
    if facts['description'] is None:
        rows['description'] = 'none (written by another program, or before there were any)'
    else:
        rows.update(flatten(facts['description']))
    rows['config'] = 'shown by --config' if facts['config'] else 'not in the file'
    width = max(map(len, rows))
    return '\n'.join(f'{name:<{width}}  {value}' for name, value in rows.items())


def flatten(value: Mapping, prefix: str = '') -> dict[str, Any]:
    """Return the values inside nested dicts under names with dots."""
    rows = {}
    for name, part in value.items():
        if isinstance(part, dict):
            rows.update(flatten(part, f'{prefix}{name}.'))
        else:
            rows[f'{prefix}{name}'] = part
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='What a checkpoint says of itself')
    parser.add_argument('file', help='.pth, .pkl, .bin or .safetensors')
    parser.add_argument('--json', action='store_true', help='as JSON')
    parser.add_argument('--config', action='store_true', help='the text of its config alone')
    args = parser.parse_args(arguments)
    facts = read_facts(args.file)
    if args.config and not facts['config']:
        raise UserError(f'{args.file} holds no config')
    if args.config:
        print(printable(facts['config']))
    else:
        print(json.dumps(facts, indent=2) if args.json else printable(format_table(facts)))
