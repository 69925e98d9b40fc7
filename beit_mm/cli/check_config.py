"""Check a config without training anything (tools/check_config.py)."""

import sys

from beit_mm.cli.arguments import config_parser, positive_int
from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config import check_config


def main(arguments: list[str] | None = None) -> None:
    parser = config_parser('Check a config')
    parser.add_argument('--processes', type=positive_int, default=1, help='that will train')
    args = parser.parse_args(arguments)
    config = load_config(args.config, args.cfg_options)
    found = check_config(config, args.processes, files=True)
    for finding in found:
        print(finding)
    errors = sum(finding.level == 'error' for finding in found)
    print(f'{args.config}: {errors} errors, {len(found) - errors} warnings')
    sys.exit(1 if errors else 0)
