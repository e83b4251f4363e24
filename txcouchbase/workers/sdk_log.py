"""What the SDK logs in a worker, on its way to the application's log: `SdkLog` at one end of the
pipe, `log_lines` at the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import couchbase
from twisted.logger import Logger

__all__ = ["LINES_PER_SECOND", "SdkLog", "log_lines"]

_log = Logger(namespace="couchbase")

LINES_PER_SECOND = 20
"""The lines that are sent within a second; the others are counted. While a server is away, the SDK
logs several lines a second."""

_LONGEST_LINE = 2_000
"""How much of a line is sent (characters)."""

_NAME = "couchbase"
"""The logger under which the SDK logs, in Python and in its binding."""


class SdkLog(logging.Handler):
    """Hands lines over in the reactor thread, whatever thread they come from.

    Args:
        reactor: The worker's reactor.
        send: Takes a list of lines, each a level of `logging` and a text.
    """

    def __init__(self, reactor: Any, send: Callable[[list[tuple[int, str]]], object]) -> None:
        super().__init__(logging.WARNING)
        self._reactor = reactor
        self._send = send
        self._lines: list[tuple[int, str]] = []
        self._passed_over = 0
        self._awake = False

    def install(self) -> None:
        """Take warnings and worse from now on, unless the environment says what becomes of them."""
        if not os.environ.get("PYCBC_LOG_LEVEL"):
            couchbase.configure_logging(_NAME, level=logging.WARNING)
            logger = logging.getLogger(_NAME)
            logger.addHandler(self)
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line, in any thread; `logging` calls this with the lock of the handler."""
        if len(self._lines) >= LINES_PER_SECOND:
            self._passed_over += 1
            return
        self._lines.append((record.levelno, record.getMessage()[:_LONGEST_LINE]))
        if not self._awake:
            self._awake = True
            self._reactor.callFromThread(self._hand_over)

    def _hand_over(self) -> None:
        self.acquire()
        lines, self._lines = self._lines, []
        passed_over, self._passed_over = self._passed_over, 0
        self._awake = bool(lines)
        self.release()
        if passed_over:
            lines.append((logging.WARNING, f"{passed_over} more lines, which are not logged"))
        if lines:
            self._send(lines)
            # What comes until then is handed over together.
            self._reactor.callLater(1.0, self._hand_over)


def log_lines(pid: int | None, lines: list[tuple[int, str]]) -> None:
    """Log what the SDK of a worker logged, under the namespace ``couchbase``."""
    for level, text in lines:
        log = _log.error if level >= logging.ERROR else _log.warn
        log("worker {pid}: {text}", pid=pid, text=text)
