"""Print what a config says once its bases and overrides are merged.

python tools/print_config.py CONFIG [--cfg-options KEY=VALUE ...] [--save-path FILE.py]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout

from mmengine.config import DictAction  # noqa: E402

from beit_mm.engine.launch import UserError, load_config  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description='Print the whole config')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--save-path', help='write it to this file as well (.py, .yml or .json)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    print(config.pretty_text)
    if args.save_path:
        if Path(args.save_path).exists():
            raise UserError(f'--save-path: {args.save_path} exists already; name a new file')
        config.dump(args.save_path)


if __name__ == '__main__':
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')
