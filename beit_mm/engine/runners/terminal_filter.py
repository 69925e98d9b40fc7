import logging
import warnings

# What MMEngine says of its own code, whatever the config.
OF_MMENGINE = (
    *('"FileClient" will be deprecated', '"HardDiskBackend" is the alias'),
    'The prefix is not set in metric class',
    'The model and loaded state dict do not match exactly',  # what fits is reported anyway
)
LOADS = 'from path: '


class TerminalFilter(logging.Filter):
    """Keeps the terminal quiet until a run has begun; the log file has everything.

    Errors and records with ``extra=dict(shown=True)`` pass. Warnings wait until they are released,
    all together, and those of Python among them. The checkpoints that are loaded meanwhile are
    noted, and what fits of each.
    """

    def __init__(self):
        super().__init__()
        self._showwarning = warnings.showwarning
        self.waits = True
        self.warnings: dict[str, logging.LogRecord] = {}
        self.loaded: dict[str, list[str]] = {}  # path: what check_load says of the modules

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.waits or record.levelno >= logging.ERROR or vars(record).get('shown'):
            return True
        text = record.getMessage()
        if LOADS in text:
            self.loaded.setdefault(text.rpartition(LOADS)[2], [])
        elif found := vars(record).get('loaded'):
            latest = [*self.loaded][-1:]
            self.loaded.setdefault(latest[0] if latest else '', []).append(found)
        if record.levelno >= logging.WARNING and not text.startswith(OF_MMENGINE):
            self.warnings.setdefault(text, record)
        return False

    def watch(self, logger: logging.Logger) -> None:
        """Filter what ``logger`` writes to terminals, and give it the warnings of Python."""
        for handler in terminals_of(logger):
            handler.addFilter(self)

        def show(message, category, *args, **kwargs) -> None:
            logger.warning(f'{category.__name__}: {message}')

        warnings.showwarning = show

    def release(self, logger: logging.Logger) -> None:
        """Show the warnings, and let everything pass from now on."""
        self.waits = False
        warnings.showwarning = self._showwarning
        for handler in terminals_of(logger):
            for record in self.warnings.values():
                if record.levelno >= handler.level:  # that of the first process shows more
                    handler.emit(record)  # its filters have seen it before
            handler.removeFilter(self)
        self.warnings.clear()


def terminals_of(logger: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in logger.handlers if not isinstance(handler, logging.FileHandler)]
