"""Connections that end when too little comes over them, in headers and between chunks, too."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.request import HTTPHandler, HTTPSHandler


class Watch:
    """Shuts its connections down when fewer than ``least`` bytes are counted in ``seconds``.

    The timeout of a socket is that of one read, and the library reads headers, ends of chunks and
    answers in advance (100) byte by byte for as long as some come.

    Attributes:
        count: Bytes of the body that have come, which the reader counts.
        has_ended: Whether it has shut them down.
    """

    def __init__(self, seconds: float, least: int):
        self.seconds, self.least = seconds, least
        self.count, self.has_ended = 0, False
        self.sockets: list[socket.socket] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch inside of this context, from a thread."""
        done = threading.Event()
        thread = threading.Thread(target=self._run, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def handlers(self) -> list[HTTPHandler]:
        """Return handlers of an opener whose connections are watched."""
        return [self._watched(HTTPHandler), self._watched(HTTPSHandler)]

    def _run(self, done: threading.Event) -> None:
        before = 0
        while not done.wait(self.seconds):
            if self.count - before < self.least:
                self.has_ended = True
                for one in self.sockets:
                    with suppress(OSError):  # closed by now
                        one.shutdown(socket.SHUT_RDWR)
                return
            before = self.count

    def _watched(self, handler: type[HTTPHandler]) -> HTTPHandler:
        sockets = self.sockets

        class Handler(handler):
            def do_open(self, kind, request, **options):
                class Connection(kind):
                    def connect(self):
                        super().connect()
                        sockets.append(self.sock)

                return super().do_open(Connection, request, **options)

        return Handler()
