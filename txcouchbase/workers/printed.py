"""`Printed`: what a worker prints, as lines in the log, and its last words for error messages.

A worker may print as much as it likes, with or without ends of lines and in whatever encoding:
neither the log nor this process's memory is flooded.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.logger import Logger

__all__ = ["LINES_PER_SECOND", "LONGEST_LINE", "Printed"]

_log = Logger()

LINES_PER_SECOND = 100
"""The lines of one worker that are logged within a second; the others are counted."""

LONGEST_LINE = 2_000
"""How much of a line is logged (bytes)."""

_LAST_LINES = 20
"""How many lines of stderr are kept for error messages."""

_LONGEST_LAST_LINE = 500
"""How much of such a line is kept (characters)."""

_LAST_WORDS = 4_000
"""How long the last words are in all (characters): each operation's error repeats them."""


class Printed:
    """What one worker prints to its stdout and stderr.

    Args:
        pid: The worker's process id.
        reactor: The reactor to use.
    """

    def __init__(self, pid: int, reactor: Any) -> None:
        self._pid = pid
        self._reactor = reactor
        self._partial: dict[int, bytes] = {1: b"", 2: b""}
        self._cut: dict[int, bool] = {1: False, 2: False}
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._room = LINES_PER_SECOND
        self._passed_over = 0
        self._second: Any = None

    def received(self, fd: int, data: bytes) -> None:
        """Bytes from stdout (1) or stderr (2)."""
        *lines, rest = (self._partial[fd] + data).split(b"\n")
        if lines:
            self._lines_ended(fd, lines)
        if len(rest) > LONGEST_LINE:
            if not self._cut[fd]:
                self._cut[fd] = True
                self._logged(fd, rest)
            # Its end may say why the worker ends.
            rest = rest[-_LONGEST_LAST_LINE:]
        self._partial[fd] = rest

    def ended(self) -> str:
        """Nothing more comes. Returns the last lines of stderr."""
        for fd, rest in self._partial.items():
            self._lines_ended(fd, [rest])
            self._partial[fd] = b""
        if self._second is not None and self._second.active():
            self._second.cancel()
        self._second_over()
        return "\n".join(self._last_lines)[-_LAST_WORDS:]

    def _lines_ended(self, fd: int, lines: list[bytes]) -> None:
        # There may be thousands: those that nobody will see are counted and not looked at.
        if fd == 2:
            for line in lines[-_LAST_LINES:]:
                if line and not line.isspace():
                    text = _text(line[-4 * _LONGEST_LAST_LINE :])
                    self._last_lines.append(text[-_LONGEST_LAST_LINE:])
        first, self._cut[fd] = int(self._cut[fd]), False
        end = first + self._room
        if len(lines) > end:
            self._pass_over(len(lines) - end)
        for line in lines[first:end]:
            if line and not line.isspace():
                self._logged(fd, line)

    def _logged(self, fd: int, line: bytes) -> None:
        if not self._room:
            self._pass_over(1)
            return
        self._room -= 1
        self._begin_second()
        text = _text(line[:LONGEST_LINE])
        if len(line) > LONGEST_LINE:
            text += " ... (the line goes on)"
        log = _log.warn if fd == 2 else _log.info
        log("worker {pid} printed: {text}", pid=self._pid, text=text)

    def _pass_over(self, lines: int) -> None:
        self._passed_over += lines
        self._begin_second()

    def _begin_second(self) -> None:
        if self._second is None:
            self._second = self._reactor.callLater(1.0, self._second_over)

    def _second_over(self) -> None:
        self._second = None
        self._room = LINES_PER_SECOND
        if self._passed_over:
            lines, self._passed_over = self._passed_over, 0
            _log.warn(
                "worker {pid} printed {lines} more lines within a second, which are not logged",
                pid=self._pid,
                lines=lines,
            )


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip()
