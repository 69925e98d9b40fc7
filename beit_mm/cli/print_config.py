"""Print a config with its bases and overrides merged (tools/print_config.py)."""

from pathlib import Path

from beit_mm.cli.arguments import config_parser
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import UserError, printable


def main(arguments: list[str] | None = None) -> None:
    parser = config_parser('Print the whole config')
    parser.add_argument('--save-path', help='write it to this file as well (.py, .yml or .json)')
    args = parser.parse_args(arguments)
    if args.save_path and Path(args.save_path).exists():
        raise UserError(f'--save-path: {args.save_path} exists already; name a new file')
    config = load_config(args.config, args.cfg_options)
    print(printable(config.pretty_text))
    if args.save_path:
        config.dump(args.save_path)
