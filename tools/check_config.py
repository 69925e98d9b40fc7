"""What is wrong with a config, without training anything.

python tools/check_config.py CONFIG [--processes 8] [--cfg-options KEY=VALUE ...]

Unknown and misspelt keys, names of classes, arguments that a class doesn't take, schedules that
don't end with the training, batches that the learning rate isn't made for, grids and vocabularies
that disagree, weight decay on what it is not for, images normalized twice, replaced samples in an
evaluation, checkpoints of a stage that differs (docs/config_check.md). tools/train.py makes the
same checks; errors end with status 1.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # a checkout, or beit_mm/.mim where it is installed
sys.path.insert(0, str(ROOT.parents[1] if ROOT.name == '.mim' else ROOT))

import beit_mm  # noqa: F401, E402, I001  (before mmpretrain, see beit_mm/torchvision_cpu.py)

from beit_mm.preflight.config import check_config  # noqa: E402
from beit_mm.cli.config_options import ConfigOptions  # noqa: E402
from beit_mm.cli.config_loading import load_config  # noqa: E402
from beit_mm.cli.run_tool import run_tool  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description='Check a config')
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--processes', type=int, default=1, help='that will train')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='override the config'
    )
    args = parser.parse_args()
    found = check_config(load_config(args.config, args.cfg_options), args.processes)
    for finding in found:
        print(finding)
    errors = sum(finding.level == 'error' for finding in found)
    print(f'{args.config}: {errors} errors, {len(found) - errors} warnings')
    sys.exit(1 if errors else 0)


if __name__ == '__main__':
    run_tool(main)
