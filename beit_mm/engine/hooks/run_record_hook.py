import logging
import os
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook

import beit_mm
from beit_mm.registry import HOOKS

PACKAGES = ('torch', 'numpy', 'onedl-mmengine', 'mmengine', 'onedl-mmcv', 'mmcv')
PACKAGES += ('onedl-mmpretrain', 'mmpretrain', 'onedl-mmsegmentation', 'mmsegmentation')


@HOOKS.register_module()
class RunRecordHook(Hook):
    """The log file tells how a run was started, with which code, and why it ended."""

    priority = 'VERY_HIGH'

    def before_run(self, runner) -> None:
        runner.logger.info(
            f'Command: {shlex.join([sys.executable, *sys.argv])}\n'
            f'In: {os.getcwd()}\nCode: {self._code()}\nVersions: {self._versions()}'
        )
        if not isinstance(sys.excepthook, _LoggedTraceback):
            sys.excepthook = _LoggedTraceback(sys.excepthook)
        sys.excepthook.logger = runner.logger
        sys.excepthook.folder = Path(runner.log_dir)

    def after_run(self, runner) -> None:
        if isinstance(sys.excepthook, _LoggedTraceback):
            sys.excepthook = sys.excepthook.before

    @staticmethod
    def _versions() -> str:
        found = [f'Python {sys.version.split()[0]}', f'beit_mm {beit_mm.__version__}']
        for package in PACKAGES:
            try:
                found.append(f'{package} {version(package)}')
            except PackageNotFoundError:
                continue
        return ', '.join(found)

    @staticmethod
    def _code() -> str:
        """The commit of the checkout that the package is in, and whether files differ from it."""
        folder = Path(beit_mm.__file__).resolve().parent

        def git(*words: str) -> str | None:
            try:
                done = subprocess.run(
                    ['git', '-C', str(folder), *words], capture_output=True, text=True, timeout=10
                )
            except (OSError, subprocess.TimeoutExpired):
                return None
            return done.stdout.strip() if done.returncode == 0 else None

        commit = git('rev-parse', 'HEAD')
        if not commit or git('ls-files', '__init__.py') != '__init__.py':
            return f'{folder}, installed'
        changed = git('status', '--porcelain', '--untracked-files=no', '--', '.')
        state = 'unknown changes' if changed is None else 'changed files' if changed else 'clean'
        return f'{folder}, git {commit} ({state})'


class _LoggedTraceback:
    """``sys.excepthook`` that writes to the run's log file first."""

    def __init__(self, before):
        self.before = before
        self.logger: logging.Logger | None = None
        self.folder = Path()

    def __call__(self, kind, error, traceback) -> None:
        record = logging.LogRecord(
            'mmengine', logging.CRITICAL, __file__, 0, 'Uncaught exception', None,
            (kind, error, traceback),
        )  # fmt: skip
        files = [h for h in self.logger.handlers if isinstance(h, logging.FileHandler)]
        try:
            if not files:  # processes other than the first have no log file
                files = [logging.FileHandler(self.folder / f'rank{get_rank()}_traceback.log')]
            for handler in files:
                handler.setFormatter(logging.Formatter('%(asctime)s - %(levelname)s - %(message)s'))
                handler.handle(record)
                handler.flush()
        except OSError:
            pass  # a full disk must not hide the error from the terminal
        self.before(kind, error, traceback)
