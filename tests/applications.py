"""Applications in processes of their own, for tests of how these start and end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

import txcouchbase

__all__ = ["ROOT", "Application", "ended"]

ROOT = str(Path(txcouchbase.__file__).resolve().parent.parent)
"""Where the package and the tests can be imported from."""


def ended(pid: int) -> bool:
    """Whether a process is no more; it may wait for somebody to ask how it ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Application(ProcessProtocol):
    """An application in a process of its own, which says which workers it has.

    Args:
        where: What it is told, as a line of JSON.

    Attributes:
        stderr: What it said there.
        workers: Fires with the first line that it prints, which is JSON.
        ended: Fires with the reason when it has ended.
    """

    def __init__(self, where: dict[str, str]) -> None:
        self._where = where
        self._printed = b""
        self.stderr = b""
        self.workers: Deferred[list[int]] = Deferred()
        self.ended: Deferred[Any] = Deferred()

    def connectionMade(self) -> None:
        """Tell it."""
        self.transport.write(json.dumps(self._where).encode() + b"\n")

    def outReceived(self, data: bytes) -> None:
        """Of its stdout only the first line matters."""
        self._printed += data
        if b"\n" in self._printed and not self.workers.called:
            self.workers.callback(json.loads(self._printed.split(b"\n")[0]))

    def errReceived(self, data: bytes) -> None:
        """Keep what it says."""
        self.stderr += data

    def processEnded(self, reason: Any) -> None:
        """It has ended, and was reaped."""
        if not self.workers.called:
            self.workers.errback(RuntimeError(self.stderr.decode()))
        self.ended.callback(reason.value)
