"""What a checkpoint says of itself: normalization, patches, tokenizer, versions, commit, config.

python tools/analysis_tools/describe_checkpoint.py FILE [--json] [--config]

Nothing in the file is run, and no weights are read. Of others' checkpoints it tells the layout, the
number of tensors and of parameters, and which parts there are.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

from beit_mm.checkpoints import detect, peek, read_description, unwrap  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402
from beit_mm.contracts.digest import plain  # noqa: E402


def facts_of(path: str) -> dict[str, Any]:
    """``file``, ``layout``, ``tensors``, ``parameters``, ``parts`` and ``description``."""
    checkpoint = peek(path)
    weights, around = unwrap(checkpoint)
    parts = Counter()
    for name, tensor in weights.items():
        parts[name.split('.')[0] if '.' in name else '(itself)'] += tensor.numel()
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
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


def table(facts: dict[str, Any]) -> str:
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
        rows.update(flat(facts['description']))
    rows['config'] = 'shown by --config' if facts['config'] else 'not in the file'
    width = max(map(len, rows))
    return '\n'.join(f'{name:<{width}}  {value}' for name, value in rows.items())


def flat(value: Mapping, prefix: str = '') -> dict[str, Any]:
    rows = {}
    for name, part in value.items():
        if isinstance(part, dict):
            rows.update(flat(part, f'{prefix}{name}.'))
        else:
            rows[f'{prefix}{name}'] = part
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description='What a checkpoint says of itself')
    parser.add_argument('file', help='.pth, .pkl, .bin or .safetensors')
    parser.add_argument('--json', action='store_true', help='as JSON')
    parser.add_argument('--config', action='store_true', help='the text of its config alone')
    args = parser.parse_args()
    facts = facts_of(args.file)
    if args.config and not facts['config']:
        raise UserError(f'{args.file} holds no config')
    if args.config:
        print(facts['config'])
    else:
        print(json.dumps(facts, indent=2) if args.json else table(facts))


if __name__ == '__main__':
    run_tool(main)
