"""Print what a config says once its bases and overrides are merged.

python tools/print_config.py CONFIG [--cfg-options KEY=VALUE ...] [--save-path FILE.py]
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))


from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.config_options import ConfigOptions  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402
from beit_mm.contracts import UserError  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description='Print the whole config')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--save-path', help='write it to this file as well (.py, .yml or .json)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='override the config'
    )
    args = parser.parse_args()
    if args.save_path and Path(args.save_path).exists():
        raise UserError(f'--save-path: {args.save_path} exists already; name a new file')
    config = load_config(args.config, args.cfg_options)
    print(config.pretty_text)
    if args.save_path:
        config.dump(args.save_path)


if __name__ == '__main__':
    run_tool(main)
