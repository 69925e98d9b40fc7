import logging
import os
import shlex
import sys
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook

from beit_mm.checkpoints.description.versions import code_state, package_folder, versions
from beit_mm.contracts import printable
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Write to the log file how a run was started, with which code, and why it ended.

    Control characters in the run's log, such as those of file names, are escaped.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner) -> None:
        runner.logger.addFilter(_escape)
        runner.logger.info(
            f'Command: {self._command()}\n'
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
    def _command() -> str:
        program, *arguments = sys.argv
        if program.startswith('beit-mm '):  # a name and its verb
            return f'{program} {shlex.join(arguments)}'
        return shlex.join([sys.executable, *sys.argv])

    @staticmethod
    def _versions() -> str:
        return ', '.join(f'{name} {version}' for name, version in versions().items())

    @staticmethod
    def _code() -> str:
        """Return the commit of the package's checkout, and whether files differ from it."""
        state = code_state()
        if state is None:
            return f'{package_folder()}, installed'
        changed = {None: 'unknown changes', True: 'changed files', False: 'clean'}
        return f'{package_folder()}, git {state["commit"]} ({changed[state["changed"]]})'


def _escape(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    return True


class _LoggedTraceback:
    """A ``sys.excepthook`` that writes to the run's log file first."""

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
